"""Wrong configurations and what is said of each: the text of own.cfg, and a line a finding, from its line number on."""

from __future__ import annotations

import os

SECRET = "s3cret"
"""Never said."""

SECTIONS = "dataset, inputs, sources, land_cover, cdse, sen2cor, slurm, database, tile, layers, archive, subset, forms, metadata, retention, cron, and Luigi's own"
CDSE = "accept_superseded, bandwidth_mb_s, catalogue_url, cool_down_h, ... (docs/configuration.md)"
LINE = "[section], or option = value"
LABELS = "classes of the nomenclature, separated by ;"
WRONG: dict[str, tuple[str, list[str]]] = {
    "section": (
        "[datset]\ndata_dir = x",
        [f"1: found no such section, [datset]; allowed: {SECTIONS}; did you mean [dataset]?"],
    ),
    "section like none": ("[weather]\nrain = x", [f"1: found no such section, [weather]; allowed: {SECTIONS}"]),
    "section of inputs": (
        "[input]\nl1c_dir = x",
        [f"1: found no such section, [input]; allowed: {SECTIONS}; did you mean [inputs]?"],
    ),
    "option": (
        "[dataset]\ndatadir = x",
        [
            "2: [dataset] datadir: found no such option; allowed: allow_missing, cache_gb, data_dir, recipe, ... (docs/configuration.md); did you mean data_dir?"
        ],
    ),
    "option of another section": (
        "[archive]\nunlabeled_limit = 0.1",
        [
            "2: [archive] unlabeled_limit: found no such option; allowed: keep_tar, level; did you mean [metadata] unlabeled_limit?"
        ],
    ),
    "option in capitals": (
        "[database]\nURL = s3cret",
        ["2: [database] URL: found no such option; allowed: url; did you mean url?"],
    ),
    "option with a secret": (
        "[cdse]\npasword = s3cret",
        [f"2: [cdse] pasword: found no such option; allowed: {CDSE}; did you mean password?"],
    ),
    "word for a number": (
        "[archive]\nlevel = six",
        ["2: [archive] level: found 'six'; allowed: a whole number from 1 to 22"],
    ),
    "level": ("[archive]\nlevel = 99", ["2: [archive] level: found '99'; allowed: a whole number from 1 to 22"]),
    "quotation without an end": (
        '[slurm]\nmore = --comment="abc',
        ["2: [slurm] more: found '--comment=\"abc': no closing quotation; allowed: options, quoted as in a shell"],
    ),
    "fraction": ("[archive]\nlevel = 6.5", ["2: [archive] level: found '6.5'; allowed: a whole number from 1 to 22"]),
    "number without value": (
        "[archive]\nlevel =",
        ["2: [archive] level: found ''; allowed: a whole number from 1 to 22"],
    ),
    "tries": ("[cdse]\ntries = 0", ["2: [cdse] tries: found '0'; allowed: a whole number of 1 or more"]),
    "parallel": ("[cdse]\nparallel = 40", ["2: [cdse] parallel: found '40'; allowed: a whole number from 1 to 4"]),
    "pause": ("[cdse]\npause_s = -1", ["2: [cdse] pause_s: found '-1'; allowed: a number of 0 or more"]),
    "no number": ("[cdse]\ncool_down_h = nan", ["2: [cdse] cool_down_h: found 'nan'; allowed: a number of 0 or more"]),
    "endless": (
        "[cdse]\nbandwidth_mb_s = inf",
        ["2: [cdse] bandwidth_mb_s: found 'inf'; allowed: a number of 0 or more"],
    ),
    "limit": (
        "[metadata]\nunlabeled_limit = 25",
        ["2: [metadata] unlabeled_limit: found '25'; allowed: a number from 0 to 1"],
    ),
    "tile threads": ("[tile]\nthreads = 0", ["2: [tile] threads: found '0'; allowed: a whole number of 1 or more"]),
    "tile switch": (
        "[tile]\ncheck_extent = yes",
        ["2: [tile] check_extent: found 'yes'; allowed: true, false; did you mean true?"],
    ),
    "switch": (
        "[archive]\nkeep_tar = ture",
        ["2: [archive] keep_tar: found 'ture'; allowed: true, false; did you mean true?"],
    ),
    "choice": (
        "[retention]\nl1c = delete_after_l2a",
        [
            "2: [retention] l1c: found 'delete_after_l2a'; allowed: keep, delete-after-l2a; did you mean delete-after-l2a?"
        ],
    ),
    "tiles": (
        "[dataset]\ntiles = 33UUP_20170613, 33UUP, 33IUP_20170613, 33UUP_20171301",
        ["2: [dataset] tiles: found '33UUP', '33IUP_20170613', '33UUP_20171301'; allowed: keys such as 33UUP_20170613"],
    ),
    "season": (
        "[subset]\nseasons = spring, sumer",
        ["2: [subset] seasons: found 'sumer'; allowed: spring, summer, fall, winter; did you mean summer?"],
    ),
    "split": (
        "[subset]\nsplits = val",
        ["2: [subset] splits: found 'val'; allowed: train, validation, test"],
    ),
    "country": (
        "[subset]\ncountries = portugal",
        [
            "2: [subset] countries: found 'portugal'; allowed: Austria, Belgium, Finland, Ireland, Kosovo, Lithuania, "
            "Luxembourg, Portugal, Serbia, Switzerland; did you mean Portugal?"
        ],
    ),
    "country without countries": (
        "[dataset]\nrecipe = southern_summer\n[subset]\ncountries = Chile",
        ["4: [subset] countries: found 'Chile'; allowed: nothing: the recipe southern-summer has no countries"],
    ),
    "label": (
        "[subset]\nlabels = Urban fabric; Pasture",
        [f"2: [subset] labels: found 'Pasture'; allowed: {LABELS}; did you mean Pastures?"],
    ),
    "sample": ("[subset]\nsample = -5", ["2: [subset] sample: found '-5'; allowed: a whole number of 0 or more"]),
    "area": (
        "[subset]\narea = 20, 50, 10, 60",
        [
            "2: [subset] area: found '20, 50, 10, 60'; allowed: west, south, east, north in degrees, or the path of a GeoJSON file"
        ],
    ),
    "area of GeoJSON": (
        '[subset]\narea = {"type": "Polygon", "coordinates": [' + "[5.5, 49.5], " * 30 + "]}",
        [
            """2: [subset] area: found '{{"type": "Polygon", "coordinates": [[5.5...', which is not a file; """
            "allowed: west, south, east, north in degrees, or the path of a GeoJSON file"
        ],
    ),
    "name": (
        "[subset]\nname = ../x",
        ["2: [subset] name: found '../x'; allowed: letters, digits, dots, hyphens and underscores"],
    ),
    "option twice": (
        "[cdse]\npassword = s3cret\nuser = x\npassword = s3cret",
        ["4: found [cdse] password again, as in own.cfg:2; allowed: each option once"],
    ),
    "option twice, with a hyphen": (
        "[cdse]\npause_s = 1\npause-s = 2",
        ["3: found [cdse] pause_s again, as in own.cfg:2; allowed: each option once"],
    ),
    "section twice": (
        "[cdse]\nuser = x\n[archive]\n[cdse]\ntries = 1",
        ["4: found [cdse] again, as in own.cfg:1; allowed: each section once"],
    ),
    "quotes": (
        "[cdse]\nuser = 'x'\npassword = \"s3cret\"",
        [
            "2: [cdse] user: found quotes around the value; allowed: the value as it is, without quotes",
            "3: [cdse] password: found quotes around the value; allowed: the value as it is, without quotes",
        ],
    ),
    "comment behind a number": (
        "[archive]\nlevel = 6  # quick",
        ["2: [archive] level: found a comment behind the value; allowed: comments on lines of their own"],
    ),
    "comment behind a path": (
        "[inputs]\nl1c_dir = /data ; the big disk",
        ["2: [inputs] l1c_dir: found a comment behind the value; allowed: comments on lines of their own"],
    ),
    "variable": (
        "[database]\nurl = postgresql://ben:s3cret${BEN_PASWORD}@h/n",
        [
            "2: [database] url: found no variable BEN_PASWORD in the environment; allowed: variables that are set; "
            "export it, or write the value; did you mean BEN_PASSWORD?"
        ],
    ),
    "variable of a path": (
        "[inputs]\nl1c_dir = $NOWHERE_AT_ALL/l1c",
        ["2: [inputs] l1c_dir: found no variable NOWHERE_AT_ALL in the environment; allowed: variables that are set"],
    ),
    "home": (
        "[inputs]\nl1c_dir = ~nobody_at_all/l1c",
        ["2: [inputs] l1c_dir: found ~nobody_at_all, which is the home of an unknown user; allowed: a path"],
    ),
    "folder": (
        "[dataset]\ndata_dir = own.cfg/data",
        [
            "2: [dataset] data_dir: found {cwd}/own.cfg, which is a file; allowed: a folder that can be made and written to"
        ],
    ),
    "a folder where none can be made": (
        "[dataset]\ndata_dir = /proc/none",
        [
            "2: [dataset] data_dir: found /proc, where no folder can be made: No such file or directory; allowed: a folder that can be made and written to"
            if os.geteuid() == 0
            else "2: [dataset] data_dir: found /proc, which cannot be written to; allowed: a folder that can be made and written to"
        ],
    ),
    "no folder": ("[dataset]\ndata_dir =", ["2: [dataset] data_dir: found nothing; allowed: a path"]),
    "URLs": (
        "[cdse]\ntoken_url = ftp://ben:s3cret@h\n[database]\nurl = mysql://ben:s3cret@h/n\n[cron]\nwebhook = s3cret",
        [
            "2: [cdse] token_url: found a value that is not shown; allowed: a URL, https://...",
            "4: [database] url: found a value that is not shown; allowed: postgresql://user:password@host:port/name",
            "6: [cron] webhook: found a value that is not shown; allowed: a URL, https://...",
        ],
    ),
    "mirror": (
        "[sources]\nmirrors = https://me:s3cret@host/path",
        [
            "2: [sources] mirrors: found a value that is not shown; allowed: URLs with {{name}} in them, and {{zone}}, "
            "{{band}}, {{square}} as needed"
        ],
    ),
    "digest": ("[inputs]\ns1_md5 = abc", ["2: [inputs] s1_md5: found 'abc'; allowed: 32 hexadecimal digits"]),
    "logs": ("[cron]\nkeep_logs = 0", ["2: [cron] keep_logs: found '0'; allowed: a whole number of 1 or more"]),
    "mail address": ("[cron]\nmail_to = (@.)<", ["2: [cron] mail_to: found '(@.)<'; allowed: an address, name@host"]),
    "mail": ("[cron]\nsmtp = mailhost", ["2: [cron] smtp: found 'mailhost'; allowed: host:port"]),
    "no line of a file": (
        "[cdse]\nuser = x\npassword s3cret\n[archive\nlevel = 6",
        [
            f"3: found a line that is neither (not shown); allowed: {LINE}",
            f"4: found a line that is neither (not shown); allowed: {LINE}",
            f"5: [cdse] level: found no such option; allowed: {CDSE}; did you mean [archive] level?",
        ],
    ),
    "no section": (
        "data_dir = s3cret\nlevel = 6",
        ["1: found an option before any section; allowed: a [section] above it"],
    ),
    "indented": (
        "[cdse]\nuser = x\n  password = s3cret",
        ["3: found an indented line, which continues [cdse] user; allowed: a section or option at the margin"],
    ),
    "several lines": (
        "[archive]\nlevel = 6\n  7",
        ["2: [archive] level: found a value of several lines; allowed: one line; own.cfg:3 begins with a blank"],
    ),
    "of Luigi": (
        "[core]\nworkers = 0\nlocal_scheduler = 1\n[retcode]\ntask_failed = x\n[worker]\nkeep_alife = true\n[resources]\nmine = -1",
        [
            "2: [core] workers: found '0'; allowed: a whole number of 1 or more",
            "3: [core] local_scheduler: found '1'; allowed: true, false",
            "5: [retcode] task_failed: found 'x'; allowed: a whole number",
            "7: [worker] keep_alife: found no such option; allowed: cache_task_completion, check_complete_on_run, "
            "check_unfulfilled_deps, count_last_scheduled, ... (docs/configuration.md); did you mean keep_alive?",
            "9: [resources] mine: found '-1'; allowed: a whole number of 0 or more",
        ],
    ),
}
