"""Every setting, declared once: its name, where it is read, and what it does here."""

from .conf import SettingIgnored, Settings
from .connection import ConnectionSettings, connection
from .declare import Effect, Setting
from .ini import CrontabFields, celery_sections, from_pyramid, read_ini
from .masking import masked, masked_text
from .table import SETTINGS, resolve, unsupported

__all__ = [
    "SETTINGS",
    "ConnectionSettings",
    "CrontabFields",
    "Effect",
    "Setting",
    "SettingIgnored",
    "Settings",
    "celery_sections",
    "connection",
    "from_pyramid",
    "masked",
    "masked_text",
    "read_ini",
    "resolve",
    "unsupported",
]
