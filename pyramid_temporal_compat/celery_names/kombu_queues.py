"""`kombu.Queue`, `Exchange` and `binding`, as plain values that an application declares.

Here only the name of a queue acts. Every other attribute is kept, compared and shown. A method that needs a broker is
refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, NoReturn

from .refused import NO_BROKER, Unsupported

TRANSIENT_DELIVERY_MODE = 1
PERSISTENT_DELIVERY_MODE = 2
DELIVERY_MODES = {"transient": TRANSIENT_DELIVERY_MODE, "persistent": PERSISTENT_DELIVERY_MODE}


def maybe_delivery_mode(v: Any, modes: Mapping[str, int] | None = None, default: int = PERSISTENT_DELIVERY_MODE) -> int:
    """Return the number of a delivery mode that is given by its number or name."""
    if not v:
        return default
    mode: int = v if isinstance(v, int) else (modes or DELIVERY_MODES)[v]
    return mode


class _NeedsBroker:
    """A kombu method that would talk to a broker. A call raises `Unsupported`."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._called = f"{owner.__name__.lstrip('_')}.{name}"

    def __get__(self, instance: Any, owner: type) -> Callable[..., NoReturn]:
        return self._refuse

    def _refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise Unsupported(f"{self._called}() is refused here. {NO_BROKER}")


class Object:
    """A value with the attributes in `attrs`. Each attribute has a function that converts given values, or None."""

    attrs: ClassVar[tuple[tuple[str, Callable[[Any], Any] | None], ...]] = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        for name, convert in self.attrs:
            value = kwargs.get(name)
            if value is not None:
                setattr(self, name, convert(value) if convert else value)
            elif not hasattr(self, name):
                setattr(self, name, None)

    def as_dict(self, recurse: bool = False) -> dict[str, Any]:
        """Return the attributes. With `recurse`, the exchange and the bindings become dicts too."""
        found: dict[str, Any] = {}
        for name, convert in self.attrs:
            value = getattr(self, name)
            if recurse and isinstance(value, Object):
                value = value.as_dict(recurse=True)
            elif convert and value is not None:
                value = convert(value)
            found[name] = value
        return found

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.as_dict())

    def __copy__(self) -> Any:
        return type(self)(**self.as_dict())


def _rebuild(cls: type[Object], attributes: dict[str, Any]) -> Object:
    return cls(**attributes)


class _Declared(Object):
    """A value that kombu would declare to a broker."""

    is_bound = False
    _compared: ClassVar[tuple[str, ...]] = ()

    def __init__(self, channel: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if channel is not None:
            self.bind(channel)

    bind = _NeedsBroker()
    declare = _NeedsBroker()
    delete = _NeedsBroker()
    bind_to = _NeedsBroker()
    unbind_from = _NeedsBroker()

    def __call__(self, channel: Any) -> NoReturn:
        self.bind(channel)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, type(self)) and not isinstance(self, type(other)):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self._compared)

    def __hash__(self) -> int:
        return hash((type(self).__name__, self.name))

    name: Any


class Exchange(_Declared):
    """An exchange. It does nothing here, because a task goes to the queue that its route names."""

    TRANSIENT_DELIVERY_MODE = TRANSIENT_DELIVERY_MODE
    PERSISTENT_DELIVERY_MODE = PERSISTENT_DELIVERY_MODE

    name = ""
    type = "direct"
    durable = True
    auto_delete = False
    passive = False
    delivery_mode: Any = None
    no_declare = False
    arguments: Any

    attrs = (
        ("name", None),
        ("type", None),
        ("arguments", None),
        ("durable", bool),
        ("passive", bool),
        ("auto_delete", bool),
        ("delivery_mode", lambda mode: DELIVERY_MODES.get(mode) or mode),
        ("no_declare", bool),
    )
    _compared = ("name", "type", "arguments", "durable", "auto_delete", "delivery_mode")

    def __init__(self, name: str = "", type: str = "", channel: Any = None, **kwargs: Any) -> None:
        super().__init__(channel, **kwargs)
        self.name = name or self.name
        self.type = type or self.type

    publish = _NeedsBroker()
    Message = _NeedsBroker()

    def binding(self, routing_key: str = "", arguments: Any = None, unbind_arguments: Any = None) -> binding:
        """Return a binding of this exchange."""
        return binding(self, routing_key, arguments, unbind_arguments)

    @property
    def can_cache_declaration(self) -> bool:
        return not self.auto_delete

    def __str__(self) -> str:
        return f"Exchange {self.name or repr('')}({self.type})"

    def __repr__(self) -> str:
        return f"<unbound {self}>"


class binding(Object):
    """How a queue is bound to an exchange."""

    exchange: Any
    routing_key: str
    arguments: Any
    unbind_arguments: Any

    attrs = (("exchange", None), ("routing_key", None), ("arguments", None), ("unbind_arguments", None))

    def __init__(
        self,
        exchange: Exchange | None = None,
        routing_key: str = "",
        arguments: Any = None,
        unbind_arguments: Any = None,
    ) -> None:
        self.exchange = exchange
        self.routing_key = routing_key
        self.arguments = arguments
        self.unbind_arguments = unbind_arguments

    declare = _NeedsBroker()
    bind = _NeedsBroker()
    unbind = _NeedsBroker()

    def __str__(self) -> str:
        return f"{self.exchange.name if self.exchange else ''}->{self.routing_key}"

    def __repr__(self) -> str:
        return f"<binding: {self}>"


class Queue(_Declared):
    """A queue: `Queue("video")`. Workers serve it with `-Q video`, and routes name it."""

    name = ""
    exchange: Any = Exchange("")
    routing_key = ""
    durable = True
    exclusive = False
    auto_delete = False
    no_ack = False
    queue_arguments: Any
    binding_arguments: Any
    consumer_arguments: Any
    alias: Any
    no_declare: Any
    expires: Any
    message_ttl: Any
    max_length: Any
    max_length_bytes: Any
    max_priority: Any

    attrs = (
        ("name", None),
        ("exchange", None),
        ("routing_key", None),
        ("queue_arguments", None),
        ("binding_arguments", None),
        ("consumer_arguments", None),
        ("durable", bool),
        ("exclusive", bool),
        ("auto_delete", bool),
        ("no_ack", None),
        ("alias", None),
        ("bindings", list),
        ("no_declare", bool),
        ("expires", float),
        ("message_ttl", float),
        ("max_length", int),
        ("max_length_bytes", int),
        ("max_priority", int),
    )
    _compared = (
        "name",
        "exchange",
        "routing_key",
        "queue_arguments",
        "binding_arguments",
        "consumer_arguments",
        "durable",
        "exclusive",
        "auto_delete",
    )

    def __init__(
        self,
        name: str = "",
        exchange: Exchange | str | Iterable[binding] | None = None,
        routing_key: str = "",
        channel: Any = None,
        bindings: Iterable[binding] | None = None,
        on_declared: Callable[..., Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(channel, **kwargs)
        self.name = name or self.name
        if isinstance(exchange, (str, Exchange)):
            self.exchange = Exchange(exchange) if isinstance(exchange, str) else exchange
        self.routing_key = routing_key or self.routing_key
        self.on_declared = on_declared
        self.bindings = set(bindings or ())
        if isinstance(exchange, (list, tuple, set)):
            self.bindings |= set(exchange)
        if self.bindings:
            self.exchange = None
        if self.exclusive:
            self.auto_delete = True

    queue_declare = _NeedsBroker()
    queue_bind = _NeedsBroker()
    queue_unbind = _NeedsBroker()
    get = _NeedsBroker()
    purge = _NeedsBroker()
    consume = _NeedsBroker()
    cancel = _NeedsBroker()

    @classmethod
    def from_dict(cls, queue: str, **options: Any) -> Queue:
        """Return the queue of an entry in `task_queues` that is written as a dict."""

        def option(prefix: str, name: str) -> Any:
            value = options.get(f"{prefix}_{name}")
            return options.get(name) if value is None else value

        exchange = Exchange(
            options.get("exchange") or "",
            type=options.get("exchange_type") or "",
            delivery_mode=options.get("delivery_mode"),
            durable=option("exchange", "durable"),
            auto_delete=option("exchange", "auto_delete"),
            arguments=options.get("exchange_arguments"),
        )
        own = {"name", "exchange", "routing_key", "durable", "auto_delete"}
        more = {name: options[name] for name, _ in cls.attrs if name not in own and name in options}
        return cls(
            queue,
            exchange=exchange,
            routing_key=options.get("binding_key") or options.get("routing_key") or "",
            durable=option("queue", "durable"),
            auto_delete=option("queue", "auto_delete"),
            **more,
        )

    def as_dict(self, recurse: bool = False) -> dict[str, Any]:
        found = super().as_dict(recurse)
        if recurse and found["bindings"]:
            found["bindings"] = [bound.as_dict(recurse=True) for bound in found["bindings"]]
        return found

    @property
    def can_cache_declaration(self) -> bool:
        return not self.auto_delete and "x-expires" not in (self.queue_arguments or {})

    def __repr__(self) -> str:
        if self.bindings:
            return f"<unbound Queue {self.name} -> [{', '.join(map(str, self.bindings))}]>"
        return f"<unbound Queue {self.name} -> {self.exchange!r} -> {self.routing_key}>"


WORKER_DIRECT_EXCHANGE = Exchange("C.dq2")


def worker_direct(hostname: str | Queue) -> Queue:
    """Return the queue of a single worker (`worker_direct = true`), by the name of the worker."""
    if isinstance(hostname, Queue):
        return hostname
    return Queue(f"{hostname}.dq2", WORKER_DIRECT_EXCHANGE, hostname)
