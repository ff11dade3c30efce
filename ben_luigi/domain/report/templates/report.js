// The search: a patch id tells its tile, whose script is then loaded. A page that is opened as a file cannot fetch.
"use strict";

const report = (() => {
  const DIGITS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
  const PATCH = /^(.*)_(\d{1,4})_(\d{1,4})$/;
  const IN_DATASET = "abc";
  const root = document.currentScript.dataset.root;
  const loading = new Map();
  const arrived = new Map();
  let known = null;

  const element = (name, text = "", attributes = {}) => {
    const made = Object.assign(document.createElement(name), { textContent: text });
    Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, value));
    return made;
  };

  const load = (key) => {
    if (!loading.has(key)) {
      loading.set(key, new Promise((done, failed) => {
        const script = element("script", "", { src: `${root}data/${key}.js` });
        script.onload = () => done(arrived.get(key));
        script.onerror = () => { loading.delete(key); failed(new Error(`data/${key}.js is missing from the report`)); };
        document.head.append(script);
      }));
    }
    return loading.get(key);
  };

  const parsed = (text) => {
    const query = text.trim().replace(/\.tif$/, "").replace(/_(B\d[\dA]|reference_map)$/, "");
    const match = PATCH.exec(query);
    const wanted = (match ? match[1] : query).toUpperCase();
    const tiles = wanted ? known.tiles.filter(([key, name]) => key.includes(wanted) || name.toUpperCase().includes(wanted)) : [];
    return { query, tiles: tiles.map(([key]) => key), place: match ? [Number(match[2]), Number(match[3])] : null };
  };

  const padded = (number, side) => String(number).padStart(Math.max(2, String(side - 1).length), "0");
  const named = ([first, names], row) => {
    const [number, last] = names[row].split(":");
    return `${first[Number(number)]}_${last}`;
  };

  const pair = (tile, place) => {
    const figure = element("span", "", { class: "pair" });
    const [hasMap, hasRadar] = tile.shown[place];
    const radar = "Sentinel-1: VV, VH and VV/VH as red, green and blue; VV; VH";
    const pictures = [[".webp", "true colour", 1], ...(hasMap ? [[".png", "reference map", 1]] : []), ...(hasRadar ? [["_s1.webp", radar, 3]] : [])];
    pictures.forEach(([suffix, what, squares]) => {
      const size = { width: 120 * squares, height: 120, ...(squares > 1 ? { class: "radar" } : {}) };
      figure.append(element("img", "", { src: `${root}tiles/${tile.key}/${place}${suffix}`, alt: `${place}, ${what}`, ...size }));
    });
    return figure;
  };

  const listed = (facts) => {
    const list = element("dl", "", { class: "plain" });
    facts.forEach(([name, value]) => {
      const line = element("div");
      line.append(element("dt", name), element("dd", value));
      list.append(line);
    });
    return list;
  };

  const numberOf = (digit) => (DIGITS.includes(digit) ? DIGITS.indexOf(digit) : digit.charCodeAt(0) - 0x4e00);

  const ofRow = (tile, row, state) => {
    const flags = ["none", "seasonal snow", "cloud or shadow", "seasonal snow, and cloud or shadow"];
    return [
      ["split", known.splits[IN_DATASET.indexOf(state.toLowerCase())]],
      ["labels", [...tile.labels[row]].map((digit) => known.classes[numberOf(digit)]).sort().join("; ")],
      ...("country" in tile ? [["country", known.countries[numberOf(tile.country[row])] || "none"]] : []),
      ...("s1" in tile ? [["Sentinel-1", named([tile.s1, tile.s1_names], row)]] : []),
      ...("v1" in tile ? [["v1 patch", named([tile.v1, tile.v1_names], row)]] : []),
      ...("flags" in tile ? [["flags", flags[Number(tile.flags[row])]]] : []),
    ];
  };

  const article = (tile, [x, y]) => {
    const inside = x < tile.side && y < tile.side;
    const place = `${padded(x, tile.side)}_${padded(y, tile.side)}`;
    const id = `${tile.name}_${place}`;
    const made = element("article", "", { "data-patch": id });
    made.append(element("h2", id));
    if (!inside) {
      made.append(element("p", `There is no such patch: the tile has ${tile.side} by ${tile.side}, counted from 00.`));
      return made;
    }
    const state = tile.states[x * tile.side + y];
    const here = IN_DATASET.includes(state.toLowerCase());
    const [name, why] = known.states[state];
    made.append(element("p", here ? "In the dataset." : `Not in the dataset: ${name} (${why}).`));
    if (place in tile.shown) made.append(pair(tile, place));
    const row = [...tile.states.slice(0, x * tile.side + y)].filter((each) => IN_DATASET.includes(each.toLowerCase())).length;
    const left = tile.left + x * tile.patch_m, top = tile.top - y * tile.patch_m;
    made.append(listed([
      ...(here ? ofRow(tile, row, state) : []),
      ["upper-left corner", `${left} m E, ${top} m N, EPSG:${tile.epsg}`],
      ...(here || "mu".includes(state) ? [["picture", `ben-luigi render --patches ${id}`]] : []),
    ]));
    const link = element("p");
    link.append(element("a", `Tile ${tile.key}`, { href: `${root}tiles/${tile.key}.html` }));
    made.append(link);
    return made;
  };

  const onlyTile = (key) => {
    const made = element("article");
    made.append(element("a", `Tile ${key}`, { href: `${root}tiles/${key}.html` }));
    return made;
  };

  const find = async (text) => {
    const found = document.getElementById("found");
    found.hidden = !text.trim();
    if (found.hidden) return;
    const { query, tiles, place } = parsed(text);
    if (!tiles.length) {
      const made = element("article");
      made.append(element("p", `No tile here goes by “${query}”. A patch id is a tile's name and two numbers, as in ${known.tiles[0][1]}_00_00.`));
      found.replaceChildren(made);
      return;
    }
    try {
      const shown = tiles.slice(0, 24);
      found.replaceChildren(...(place ? (await Promise.all(shown.map(load))).map((tile) => article(tile, place)) : shown.map(onlyTile)));
    } catch (error) {
      found.replaceChildren(element("p", error.message));
    }
  };

  document.addEventListener("DOMContentLoaded", () => {
    const form = document.getElementById("find");
    const box = document.getElementById("query");
    const asked = new URLSearchParams(location.search).get("find");
    form.addEventListener("submit", (event) => { event.preventDefault(); find(box.value); });
    document.querySelectorAll("img[data-tile]").forEach((grid) => grid.addEventListener("click", (event) => {
      const [x, y] = [event.offsetX, event.offsetY].map((at) => padded(Math.floor(at / grid.clientWidth * grid.naturalWidth), grid.naturalWidth));
      box.value = `${grid.dataset.tile}_${x}_${y}`;
      find(box.value).then(() => document.getElementById("found").scrollIntoView({ block: "nearest" }));
    }));
    if (asked) { box.value = asked; find(asked); }
  });

  return { index: (value) => { known = value; }, tile: (value) => { arrived.set(value.key, value); } };
})();
