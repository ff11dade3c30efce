// The viewer: choose patches, page through them, and put together three bands of a patch's sheet. A page that is opened
// as a file cannot read the pixels of a picture, but it can draw them: a band times pure red, green or blue, and the sum.
"use strict";

const viewer = (() => {
  const CHANNELS = ["#f00", "#0f0", "#00f"];
  const FLAGS = ["with seasonal snow", "with cloud or shadow"];
  const ANY = "with any flag", NONE = "without a flag";
  const root = document.currentScript.src.replace(/assets\/viewer\.js.*$/, "");
  const KEPT = 192; // pictures: two pages of 48 patches with their maps
  const pictures = new Map();
  let known = null;
  let hashes = null;
  let page = 0;

  const element = (name, text = "", attributes = {}) => {
    const made = Object.assign(document.createElement(name), { textContent: text });
    Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, value));
    return made;
  };
  const byId = (id) => document.getElementById(id);
  const chosen = (id) => byId(id)?.value ?? "";
  const number = (value) => value.toLocaleString("en");

  const FILTERS = {
    label: { names: () => known.classes, has: (patch, name) => patch.labels.includes(known.classes.indexOf(name)) },
    country: { names: () => known.countries, has: (patch, name) => patch.country === name },
    split: { names: () => known.splits, has: (patch, name) => known.splits[patch.split] === name },
    flag: {
      names: () => [NONE, ANY, ...FLAGS],
      has: (patch, name) => (name === ANY ? patch.flags > 0 : name === NONE ? !patch.flags : Boolean((patch.flags >> FLAGS.indexOf(name)) & 1)),
    },
  };
  const CHOICES = [...Object.keys(FILTERS), "picture", "beside", "per"];

  const loaded = (source) => {
    if (!pictures.has(source)) {
      if (pictures.size >= KEPT) pictures.delete(pictures.keys().next().value);
      pictures.set(source, new Promise((done, failed) => {
        const picture = new Image();
        picture.onload = () => done(picture);
        picture.onerror = () => { pictures.delete(source); failed(new Error(`${source} is missing`)); };
        picture.src = root + source;
      }));
    }
    return pictures.get(source);
  };

  const surface = () => Object.assign(document.createElement("canvas"), { width: known.side, height: known.side });

  const band = (sheet, name, colour) => {
    const canvas = surface(), context = canvas.getContext("2d");
    const [left, top, side] = known.cells[name];
    context.imageSmoothingEnabled = false;
    context.drawImage(sheet, left, top, side, side, 0, 0, known.side, known.side);
    if (colour) {
      context.globalCompositeOperation = "multiply";
      context.fillStyle = colour;
      context.fillRect(0, 0, known.side, known.side);
    }
    return canvas;
  };

  const draw = async (canvas, patch, view) => {
    const context = canvas.getContext("2d");
    const { bands } = known.views[view];
    if (!bands.length) {
      context.drawImage(await loaded(`viewer/${patch.id}.png`), 0, 0);
      return;
    }
    const sheet = await loaded(`viewer/${patch.id}.webp`);
    context.globalCompositeOperation = "lighter";
    bands.forEach((name, at) => context.drawImage(band(sheet, name, bands.length > 1 ? CHANNELS[at] : null), 0, 0));
  };

  const named = (view) => `${known.views[view].name}${known.views[view].bands.length > 1 ? ` (${known.views[view].bands.join(", ")})` : ""}`;

  const lacks = (patch, view) => {
    const { bands } = known.views[view];
    if (!bands.length) return patch.map ? "" : "no reference map";
    return bands.every((name) => name.startsWith("V")) && !patch.radar ? "no Sentinel-1" : "";
  };

  const shown = (patch, view, drawn) => {
    const missing = lacks(patch, view);
    if (missing) return element("span", missing, { class: "none" });
    const canvas = surface();
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `${patch.id}: ${named(view)}`);
    canvas.title = named(view);
    drawn.push(draw(canvas, patch, view).catch((error) => canvas.replaceWith(element("span", error.message, { class: "none" }))));
    return canvas;
  };

  const loadHashes = () => {
    hashes ??= new Promise((done, failed) => {
      viewer.files = done;
      const script = element("script", "", { src: `${root}viewer/files.js` });
      script.onerror = () => { hashes = null; failed(new Error("viewer/files.js is missing")); };
      document.head.append(script);
    });
    return hashes;
  };

  const fileList = (files) => {
    const list = element("ul", "", { class: "files" });
    files.forEach(([name, size, sha256, md5]) => {
      const line = element("li", name);
      const facts = element("dl");
      [["bytes", number(size)], ["sha256", sha256], ["md5", md5]].forEach(([what, value]) => {
        const fact = element("dd");
        fact.append(element("code", value));
        facts.append(element("dt", what), fact);
      });
      line.append(facts);
      list.append(line);
    });
    return list;
  };

  const details = (patch) => {
    const made = element("details");
    made.append(element("summary", "Files"));
    made.addEventListener("toggle", async () => {
      if (!made.open || made.querySelector("ul")) return;
      try {
        const files = (await loadHashes())[patch.id];
        made.append(files.length ? fileList(files) : element("p", "Its pixels come from the shards below."));
      } catch (error) {
        made.append(element("p", error.message));
      }
    });
    return made;
  };

  const card = (patch, drawn) => {
    const made = element("li", "", { "data-patch": patch.id });
    const views = element("div", "", { class: "views" });
    views.append(...[chosen("picture"), chosen("beside")].filter(Boolean).map((view) => shown(patch, view, drawn)));
    const title = element("h3");
    title.append(patch.page ? element("a", patch.id, { href: root + patch.page }) : patch.id);
    const split = known.splits[patch.split];
    const facts = element("p", "", { class: "facts-of" });
    facts.append(element("span", split, { class: `tag ${split}` }));
    FLAGS.forEach((flag, at) => { if ((patch.flags >> at) & 1) facts.append(" ", element("span", flag.replace("with ", ""), { class: "tag" })); });
    if (patch.country) facts.append(` ${patch.country}`);
    made.append(views, title, facts, element("p", patch.labels.map((label) => known.classes[label]).join(" · "), { class: "labels" }));
    if (patch.s1) made.append(element("p", `Sentinel-1: ${patch.s1}`, { class: "soft partner" }));
    made.append(details(patch));
    return made;
  };

  const matching = () => {
    const wanted = Object.entries(FILTERS).filter(([name]) => chosen(name));
    return known.patches.filter((patch) => wanted.every(([name, { has }]) => has(patch, chosen(name))));
  };

  const step = { first: () => 0, before: (at) => at - 1, after: (at) => at + 1, last: (at, pages) => pages - 1 };

  const render = async () => {
    const found = matching(), per = Number(chosen("per"));
    const pages = Math.max(1, Math.ceil(found.length / per));
    page = Math.min(Math.max(0, page), pages - 1);
    const list = byId("patches"), drawn = [];
    list.setAttribute("aria-busy", "true");
    list.classList.toggle("single", per === 1);
    const here = found.slice(page * per, (page + 1) * per).map((patch) => card(patch, drawn));
    list.replaceChildren(...here);
    byId("status").textContent = found.length
      ? `Page ${number(page + 1)} of ${number(pages)}: ${number(found.length)} of ${number(known.patches.length)} patches`
      : "No patch of the sample has all of this";
    document.querySelectorAll("[data-step]").forEach((button) => {
      const at = step[button.dataset.step](page, pages);
      button.disabled = at === page || at < 0 || at >= pages;
    });
    const said = new URLSearchParams(CHOICES.filter((name) => byId(name)).map((name) => [name, chosen(name)]));
    said.set("page", String(page + 1));
    history.replaceState(null, "", `#${said}`);
    await Promise.all(drawn);
    if (list.firstChild === (here[0] ?? null)) list.setAttribute("aria-busy", "false");
  };

  const turn = (which) => {
    const pages = Math.max(1, Math.ceil(matching().length / Number(chosen("per"))));
    const to = step[which](page, pages);
    if (to === page || to < 0 || to >= pages) return;
    page = to;
    render();
  };

  const fromAddress = () => {
    const said = new URLSearchParams(location.hash.slice(1));
    CHOICES.filter((name) => byId(name) && said.has(name)).forEach((name) => {
      if ([...byId(name).options].some((option) => option.value === said.get(name))) byId(name).value = said.get(name);
    });
    page = (Number.parseInt(said.get("page"), 10) || 1) - 1;
  };

  const fill = () => {
    Object.entries(FILTERS).filter(([name]) => byId(name)).forEach(([name, { names, has }]) => {
      const counted = names().map((each) => [each, known.patches.filter((patch) => has(patch, each)).length]);
      byId(name).append(new Option("All", ""), ...counted.filter(([, count]) => count).map(([each, count]) => new Option(`${each} (${number(count)})`, each)));
    });
  };

  const start = () => {
    fill();
    fromAddress();
    byId("choose").addEventListener("change", () => { page = 0; render(); });
    byId("choose").addEventListener("submit", (event) => event.preventDefault());
    document.querySelectorAll("[data-step]").forEach((button) => button.addEventListener("click", () => turn(button.dataset.step)));
    document.addEventListener("keydown", (event) => {
      const taken = event.target.closest("select, input, textarea, .scroll") || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey;
      const which = { ArrowLeft: "before", ArrowRight: "after" }[event.key];
      if (which && !taken) { event.preventDefault(); turn(which); }
    });
    window.addEventListener("hashchange", () => { fromAddress(); render(); });
    render();
  };

  document.addEventListener("DOMContentLoaded", () => {
    if (known) start();
    else byId("status").textContent = "viewer/patches.js is missing: copy the whole folder";
  });

  return { patches: (value) => { known = value; }, files: null };
})();
