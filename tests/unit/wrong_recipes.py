"""Wrong recipes: a part of the template and what stands in its place, and what is said of it."""

from __future__ import annotations

ALONE: dict[str, list[tuple[str, str]]] = {
    "[split] rule": [('rule = "blocks"', 'rule = "Blocks"')],
    "[split] file": [
        ('rule = "blocks"', 'rule = "csv"\nfile = "gone.csv"'),
        *((f"\n{key}", f"\n# {key}") for key in ("block_km", "seed", "shares")),
    ],
    "[sentinel1] folder": [('from = "none"', 'from = "folder"\nfolder = "gone"')],
    "[sentinel1] resampling": [
        ('from = "none"', 'from = "rasters"\nrasters = "{polarisation}.tif"\nresampling = "best"')
    ],
    "[patches] keep": [('keep = "valid"', 'keep = "aligned"'), ('from = "none"', 'from = "v1"')],
    "[seasons] rule": [('rule = "calendar"', 'rule = "publish"'), ('keep = "valid"', 'keep = "aligned with v1"')],
    "[patches] side_m": [
        ("side_m = 1200", "side_m = 1201"),
        (
            "[seasons]",
            '[layers.dem]\npath = "{tile}.tif"\nresolution_m = 1000\nresampling = "nearest"\ndtype = "uint8"\n[seasons]',
        ),
    ],
    "[land_cover] code": [('code = "Code_18"', "code = 18")],
}
"""Keys with a value that is wrong, and all that is changed in the template: nothing else is said."""

WRONG: dict[str, tuple[tuple[str, str], list[str]]] = {
    "section": (("[seasons]", "[season]"), ["season: found no such section", "did you mean [seasons]?"]),
    "key": (("side_m", "side"), ["[patches] side: found no such key; allowed: side_m, keep, max_cloud; did you mean side_m?"]),
    "key of the head": (("title", "titel"), ["title: found nothing", "titel: found no such key", "did you mean title?"]),
    "type": (("side_m = 1200", 'side_m = "1200"'), ["[patches] side_m: found '1200'; allowed: a multiple of 60 from 60"]),
    "side": (("side_m = 1200", "side_m = 2560"), ["[patches] side_m: found 2560", "did you mean 2580?"]),
    "no side": (("side_m = 1200", "side_m = 0"), ["[patches] side_m: found 0"]),
    "true as a number": (("side_m = 1200", "side_m = true"), ["[patches] side_m: found True"]),
    "choice": (('rule = "blocks"', 'rule = "block"'), ['[split] rule: found \'block\'; allowed: "rings", "csv", "blocks"', "did you mean blocks?"]),
    "aligned with another side": (
        ('side_m = 1200                           # a multiple of 60 m\nkeep = "valid"', 'side_m = 2400\nkeep = "aligned with v1"'),
        ['side_m: found 2400 with keep = "aligned with v1"; allowed: 1200', '[seasons] rule: found "calendar" with keep'],
    ),
    "v1 radar without v1": (('from = "none"', 'from = "v1"'), ["[sentinel1] from: found \"v1\" for patches that are not aligned"]),
    "radar without a folder": (('from = "none"', 'from = "folder"'), ['[sentinel1] from: found "folder" without folder']),
    "list and search": (("boa_offset", 'list = "tile_names_csv"\nboa_offset'), ["[products] search: found both list and search"]),
    "blank title": (('title = "my-region"', 'title = "  "'), ["title: found '  '; allowed: text on one line, not only blanks"]),
    "area across the 180th meridian": (
        ('tiles = ["32TQM"]', "area = [179, -25, -179, -24]"),
        ["found area = [179, -25, -179, -24]", "across the 180th meridian by tiles"],
    ),
    "neither": (("search = {", "# search = {"), ["[products] list: found neither list nor search"]),
    "date as text": (("from = 2023-06-01", 'from = "2023-06-01"'), ["[products] search: found from = '2023-06-01'", "without quotes"]),
    "dates turned round": (("to = 2023-08-31", "to = 2022-08-31"), ["[products] search: found from 2023-06-01 to 2022-08-31"]),
    "tile": (('"32TQM"', '"32TQW"'), ["[products] search: found tiles = '32TQW'"]),
    "no dates": (("from = 2023-06-01, to = 2023-08-31, ", ""), ["[products] search: found no from or no to"]),
    "like a list, and dates": (
        ('tiles = ["32TQM"]', 'same_as = "tile_names_csv"'),
        ["[products] search: found same_as with tiles, area, dates or per; allowed: only max_cloud"],
    ),
    "columns of a raster": (('"clc_gpkg"', '"land_cover_raster"'), ["[land_cover] code: found code with a raster"]),
    "shares": (("0.25, 0.25]", "0.25, 0.2]"), ["[split] shares: found [0.5, 0.25, 0.2], whose sum is 0.95"]),
    "csv without file": (
        ('rule = "blocks"', 'rule = "csv"'),
        ['[split] rule: found "csv" without file', "[split] block_km", "[split] seed", "[split] shares"],
    ),
    "name": (('name = "my-region"', 'name = "My Region"'), ["name: found 'My Region'; allowed: 2 to 62 lower-case"]),
    "name of v2": (('name = "my-region"', 'name = "bigearthnet-v2.1"'), ["name: found 'bigearthnet-v2.1'; allowed: another one"]),
    "title of v2": (('title = "my-region"', 'title = "BigEarthNet v2, 2023"'), ["title: found 'BigEarthNet v2, 2023'"]),
    "option that is none": (('"clc_gpkg"', '"clc_gpkgs"'), ["[land_cover] file: found nothing at", "did you mean clc_gpkg?"]),
    "polygons without code": (('code = "Code_18"', "# code"), ["[land_cover] file: found polygons without code"]),
    "layer": (("# [layers.dem]", "[layers.DEM]"), ["[layers] DEM: found a name 'DEM'"]),
    "no TOML": (("[patches]", "[patches"), ["found Expected ']'"]),
    "country twice": (('names = "all"', 'names = ["Italy", "Italy"]'), ["[countries] names: found 'Italy' more than once"]),
}  # fmt: skip
