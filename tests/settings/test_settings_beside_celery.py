"""Configurations made at random are read here as Celery reads them."""

import random

import pytest
from celery import Celery
from celery.app.defaults import _TO_OLD_KEY
from celery.exceptions import ImproperlyConfigured as CelerysImproperlyConfigured

from pyramid_temporal_compat.exceptions import ImproperlyConfigured
from pyramid_temporal_compat.settings import Settings

NAMES = sorted(name for name in _TO_OLD_KEY if name != "task_acks_late")


def some_settings(chance, namespace, mixed):
    found = {}
    for name in chance.sample(NAMES, chance.randint(0, 5)):
        key = chance.choice([name, _TO_OLD_KEY[name]]) if mixed else name
        if namespace and chance.random() < 0.7:
            key = f"{namespace}_{name}".upper()
        found[key] = chance.randint(1, 99)
    return found


def values(configure, error, names):
    try:
        conf = configure()
        return {name: (conf[name], getattr(conf, name)) for name in names}
    except error:
        return "improperly configured"


@pytest.mark.parametrize("seed", range(150))
def test_a_random_configuration_is_read_as_celery_reads_it(seed):
    chance = random.Random(seed)
    namespace = chance.choice([None, None, "CELERY", "PROJ"])
    source = chance.choice([None, some_settings(chance, namespace, chance.random() < 0.4)])
    changes = {} if namespace else some_settings(chance, None, chance.random() < 0.4)
    defaults = some_settings(chance, None, False)

    def celerys():
        app = Celery(set_as_current=False)
        app.conf.update(changes)
        if source is not None:
            app.config_from_object(dict(source), namespace=namespace)
        app.add_defaults(defaults)
        return app.conf

    def ours():
        conf = Settings()
        conf.update(changes)
        if source is not None:
            conf.config_from_object(dict(source), namespace=namespace)
        conf.add_defaults(defaults)
        return conf

    # Under a namespace Celery looks for old names without it only; here they always mean the same as the new.
    names = NAMES if namespace else [*NAMES, *(_TO_OLD_KEY[name] for name in NAMES)]
    assert values(ours, ImproperlyConfigured, names) == values(celerys, CelerysImproperlyConfigured, names)
