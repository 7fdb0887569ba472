"""Gymnasium wrappers: functional environments, cost signals, dreams. Importing it registers our Gymnasium ids."""

from spi_wrappers import registration as _registration

_registration.register_ids()
