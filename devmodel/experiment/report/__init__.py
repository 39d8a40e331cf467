"""Results as a page: pictures, tables, and where it all comes from, in one file that needs no net.

`saved` reads what `devmodel compare --json` wrote; `variants` says what sets runs of several files
apart, and `groups` puts repeats together. `figures` has the questions, each with a picture (`bars`
or `lines`, looking as `drawing` says) and a table; `page` is the file, `pictures` are those alone.
"""
