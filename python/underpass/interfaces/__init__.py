"""Typed calls: one annotated class, a server that implements it, a proxy that calls it.

For example::

    class Thumbnails(underpass.Interface):
        def resize(self, image: bytes, width: int) -> bytes:
            raise NotImplementedError

    class Resizer(Thumbnails):
        def resize(self, image: bytes, width: int) -> bytes:
            return shrink(image, width)

    underpass.serve(Resizer(), at="thumbs")             # in one process
    thumbs = underpass.connect(Thumbnails, "thumbs")    # in another
    small = thumbs.resize(image, width=80)

From the outside in: `interface` is the base class, `serving` and `proxy` are the two sides, `channel` is a proxy's binding to a
server, `dispatch` is the server's answer to one request, `schema` reads methods off a class, `shapes` writes their types down,
`difference` compares two schemas, `codec` packs values, `checks` finds those that are not of their type, `buffers` keeps the large ones
out of it, `wire` is what the bytes mean. All but the first three need msgspec, and are imported when the first interface is served or
called.
"""

from underpass.interfaces.interface import Interface, oneway
from underpass.interfaces.proxy import connect
from underpass.interfaces.serving import serve, serving

__all__ = ["Interface", "connect", "oneway", "serve", "serving"]
