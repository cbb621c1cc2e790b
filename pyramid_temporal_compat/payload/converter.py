from temporalio.api.common.v1 import Payload as P
from temporalio.common import RawValue
from temporalio.converter import DataConverter

from . import Payload


def data_converter(codecs=()):
    return DataConverter.default


def to_raw(p):
    return RawValue(P(metadata=dict(p.metadata), data=p.data))


def from_raw(r):
    return Payload(dict(r.payload.metadata), r.payload.data)
