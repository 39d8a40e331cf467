"""How a device reaches a guest: one interface, and a transport behind it.

`interface` is what the rest of devmodel knows, and `memory`, which both sides share. `ivshmem` is
the one transport there is; its parts are `greeting` (the protocol), `doorbell` and `rammap`.
"""

from typing import Annotated

from pydantic import PlainValidator, SerializeAsAny, TypeAdapter

from devmodel.link.interface import Attachment, Endpoint, Transport, Wires
from devmodel.link.ivshmem import Ivshmem, IvshmemWires

__all__ = ["DEFAULT", "AnyWires", "Attachment", "Endpoint", "Transport", "Wires"]

DEFAULT: Transport = Ivshmem()

AnyWires = Annotated[
    SerializeAsAny[Wires], PlainValidator(TypeAdapter(IvshmemWires).validate_python)
]
"""Wires of any transport, for what travels as JSON. With more than one it is their union."""
