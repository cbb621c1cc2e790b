"use strict";
// Without this script the board works too: it only refreshes pages, asks before dangerous buttons, and chooses all rows.

const EVERY = 5000;
const KEY = "ptemporal-board-refresh";

const isBusy = () => {
  const active = document.activeElement;
  const inPart = active && active.closest("[data-refresh]") && active.matches("input, button, select, textarea");
  const chosen = document.querySelector("[data-refresh] input[type=checkbox]:checked");
  const selection = window.getSelection();
  return document.hidden || inPart || chosen || (selection && !selection.isCollapsed);
};

const refresh = async () => {
  if (isBusy()) return;
  let answer;
  try {
    answer = await fetch(location.href, { credentials: "same-origin", headers: { "X-Requested-With": "fetch" } });
  } catch {
    return; // the next attempt may succeed
  }
  if (!answer.ok || isBusy()) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  const olds = document.querySelectorAll("[data-refresh]");
  const news = fresh.querySelectorAll("[data-refresh]");
  if (olds.length !== news.length) return;
  const focused = document.activeElement && document.activeElement.getAttribute("href");
  olds.forEach((old, place) => {
    if (old.innerHTML === news[place].innerHTML) return;
    old.replaceWith(document.adoptNode(news[place]));
  });
  if (focused) {
    const again = [...document.querySelectorAll("a")].find((each) => each.getAttribute("href") === focused);
    if (again && document.activeElement === document.body) again.focus({ preventScroll: true });
  }
  prepare();
};

const prepare = () => {
  const all = document.getElementById("all");
  if (all) all.hidden = false;
};

document.addEventListener("change", (event) => {
  if (event.target.id !== "all") return;
  document.querySelectorAll("input[name=id]").forEach((each) => {
    each.checked = event.target.checked;
  });
});

document.addEventListener("submit", (event) => {
  const text = (event.submitter && event.submitter.dataset.confirm) || event.target.dataset.confirm;
  if (text && !window.confirm(text)) event.preventDefault();
});

const remembered = () => {
  try {
    return localStorage.getItem(KEY) !== "off";
  } catch {
    return true; // the browser keeps nothing for this site
  }
};

const box = document.getElementById("refresh");
if (box && document.querySelector("[data-refresh]")) {
  box.closest("label").hidden = false;
  box.checked = remembered();
  box.addEventListener("change", () => {
    try {
      localStorage.setItem(KEY, box.checked ? "on" : "off");
    } catch {
      // it holds for this page only
    }
  });
  setInterval(() => box.checked && refresh(), EVERY);
}
prepare();
