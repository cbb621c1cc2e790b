"""`import celery`: makes a module when it is imported, and finds a name in `name_table.py` when it is first used."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Iterable, Iterator, Sequence
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from .. import exceptions
from ..celery_names import refused, version
from ..exceptions import CeleryError
from .name_table import MODULES, REPLACEABLE_MODULES

if TYPE_CHECKING:
    from importlib.metadata import Distribution, DistributionFinder

PACKAGE = __name__.partition(".")[0]
ROOTS = ("celery", "kombu", "billiard")
PACKAGES = frozenset(
    name[:end]
    for name in (*MODULES, *refused.MODULES)
    for end in (at for at, letter in enumerate(name) if letter == ".")
)
"""The modules that contain other modules."""


IMPORTED_BY_CELERY = ("celery", "celery.app.trace", "billiard.pool", "kombu.messaging")
"""Modules that Celery imports by itself and that agents wait for. Nothing here would import them."""


class CeleryImportedFirst(CeleryError):
    """`install_as_celery()` was called too late: the real Celery was already imported."""


class CeleryModule(ModuleType):
    """A module with Celery's name and this package's objects."""

    def __getattr__(self, name: str) -> Any:
        dotted = f"{self.__name__}.{name}"
        if target := MODULES.get(self.__name__, {}).get(name):
            found = _target(target)
        elif dotted in MODULES or dotted in PACKAGES or dotted in refused.MODULES:
            return importlib.import_module(dotted)
        elif name.startswith("_") or (sentence := refused.sentence_of(dotted)) is None:
            raise AttributeError(f"{PACKAGE}, which stands for Celery here, has no {dotted}")
        else:
            found = refused.placeholder(dotted, sentence)
        self.__dict__[name] = found
        return found

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if self.__name__ in REPLACEABLE_MODULES and (target := MODULES[self.__name__].get(name)):
            module, _, attribute = target.partition(":")
            setattr(importlib.import_module(module, PACKAGE), attribute, value)

    def __dir__(self) -> Iterable[str]:
        return sorted({*super().__dir__(), *MODULES.get(self.__name__, ())})

    def __reduce__(self) -> tuple[Any, ...]:
        return importlib.import_module, (self.__name__,)


class CeleryFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """A finder in `sys.meta_path`, before the one for files. It makes the modules that the table names."""

    roots: tuple[str, ...] = ()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname.partition(".")[0] not in self.roots:
            return None
        is_package = fullname in PACKAGES or refused.is_module(fullname)
        if is_package or fullname in MODULES:
            return importlib.machinery.ModuleSpec(fullname, self, origin=PACKAGE, is_package=is_package)
        # Without this error, Python would go on and import the module from the real Celery, if it is installed.
        raise ModuleNotFoundError(f"{PACKAGE}, which stands for Celery here, has no module {fullname}", name=fullname)

    def find_distributions(self, context: DistributionFinder.Context | None = None) -> Iterator[Distribution]:
        """Find the distributions whose modules are made here: agents ask for the version of `celery`."""
        from .distribution import CeleryDistribution  # imports `importlib.metadata`, which the caller has: 10 ms

        wanted = None if context is None or context.name is None else context.name.lower()
        for name in self.roots:
            if wanted in (None, name):
                yield CeleryDistribution(name)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return CeleryModule(spec.name, f"{spec.name}, as {PACKAGE} has it.")

    def exec_module(self, module: ModuleType) -> None:
        names = MODULES.get(module.__name__, {})
        module.__dict__["__all__"] = tuple(name for name in names if not name.startswith("_"))
        if module.__name__ in version.RELEASES:
            module.__dict__["__version__"] = version.RELEASES[module.__name__]


_finder = CeleryFinder()


def install_as_celery(*, kombu: bool = True) -> None:
    """Make `import celery`, `import kombu` and `import billiard` find this package, from now on in this process.

    Call it before anything imports Celery: the first line of the application's own `__init__.py` is a good place.
    The real Celery need not be installed. A second call does nothing.

    With `kombu=False`, `import kombu` still finds the real kombu, for an application with messages of its own on a
    broker. Our errors are then errors of the real kombu too, so that
    `except kombu.exceptions.OperationalError` catches them.
    """
    if _finder in sys.meta_path:
        return
    roots = ROOTS if kombu else tuple(root for root in ROOTS if root != "kombu")
    for root in roots:
        if (imported := sys.modules.get(root)) is not None and not isinstance(imported, CeleryModule):
            raise CeleryImportedFirst(_too_late(root))
    _finder.roots = roots
    sys.meta_path.insert(_before_files(), _finder)
    if not kombu:
        derive_from_kombu()
    for module in IMPORTED_BY_CELERY:
        if module.partition(".")[0] in roots:
            importlib.import_module(module)


def _before_files() -> int:
    """Return the place just before the finder of files, so that the import hooks of agents see our modules too."""
    finders: list[Any] = list(sys.meta_path)
    files = importlib.machinery.PathFinder
    return finders.index(files) if files in finders else len(finders)


def uninstall() -> None:
    """Undo `install_as_celery()`, for tests. A module that has imported a name keeps it."""
    if _finder in sys.meta_path:
        sys.meta_path.remove(_finder)
    for error, bases in _bases_before.items():
        error.__bases__ = bases
    _bases_before.clear()
    for name in [name for name, module in list(sys.modules.items()) if isinstance(module, CeleryModule)]:
        del sys.modules[name]


def derive_from_kombu() -> None:
    """Make each error of ours that stands for one of kombu's a subclass of the real one, if kombu is installed.

    The bases change in place: tasks and clients raise these classes, and hold them since they were imported.
    """
    try:
        real = importlib.import_module("kombu.exceptions")
    except ModuleNotFoundError:
        return
    for name in KOMBU_ERRORS:
        error = getattr(exceptions, name)
        _bases_before[error] = error.__bases__
        error.__bases__ = (*error.__bases__, getattr(real, name))


KOMBU_ERRORS = ("SerializationError", "EncodeError", "DecodeError", "OperationalError")
"""The errors that a call of a task can raise in the caller, base classes first."""
_bases_before: dict[Any, tuple[type, ...]] = {}


def _target(target: str) -> Any:
    module, _, name = target.partition(":")
    found = importlib.import_module(module, PACKAGE)
    return getattr(found, name) if name else found


def _too_late(root: str) -> str:
    importer = _importer_of(root)
    return (
        f"the real {root!r} was imported before install_as_celery() was called"
        + (f", by the module {importer!r}" if importer else "")
        + ": part of the application would use Celery, and part this package. Call it "
        + ("above that import, or " if importer else "")
        + "in the first line of the application's own __init__.py "
        "(import pyramid_temporal_compat; pyramid_temporal_compat.install_as_celery())"
    )


def _importer_of(root: str) -> str | None:
    """Return the module that imported `root` first; None if no module holds an object of it."""
    names = list(sys.modules)  # in the order in which their imports began: the importer is just before `root`
    before = names[: names.index(root)]
    for name in (*reversed(before), *names[len(before) :]):
        if name.partition(".")[0] in (*ROOTS, PACKAGE, "amqp", "vine"):
            continue
        if any(_is_of(root, value) for value in list(getattr(sys.modules.get(name), "__dict__", {}).values())):
            return name
    return None


def _is_of(root: str, value: object) -> bool:
    # Read the name only where it is stored, because reading any other attribute may load a lazy object.
    if isinstance(value, ModuleType):
        name: object = value.__dict__.get("__name__")
    else:
        name = value.__module__ if isinstance(value, (type, FunctionType)) else type(value).__module__
    return isinstance(name, str) and name.partition(".")[0] == root
