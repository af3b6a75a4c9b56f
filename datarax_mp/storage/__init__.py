"""Files that lie elsewhere: in a bucket, or on a web server.

options     Storage: what a user says of them
listing     from a URL, a pattern or a folder to Remotes
remote      Remote: the name of such a file, and all that is known of it
asking      requests: many at a time, again where one failed
ranges      one request, and the tag that its answer names
folder      the cache folder: an entry per file, room made by taking out what was used least recently
entry       an entry: the file with holes, and which parts of it are there
ahead       what will be wanted next, brought into the cache in threads
reading     pieces, open files and whole files, out of the cache or through it
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datarax_mp.storage.options import Storage as Storage
else:
    from datarax_mp.core.public import offer

    _HOME = {"Storage": "storage.options"}
    __getattr__, __dir__, __all__ = offer(__name__, _HOME)
