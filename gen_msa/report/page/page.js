// Filters, order, theme and lazily loaded images of the report. Reads only data attributes and text
// that the template escaped; never builds markup from them. The filters are kept in the URL after '#'.
"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const form = $("filters"), main = $("posts"), count = $("count"), nothing = $("nothing");
  const boxes = [...form.querySelectorAll("[name=p]")];
  const plain = new Intl.NumberFormat("en");
  const counted = (n, noun) => `${plain.format(n)} ${noun}${n === 1 ? "" : "s"}`;

  // Cards in templates cost little until they are inserted: one batch at a time while the page is
  // idle, so that the browser's own search finds them too, or all at once when a filter needs them.
  const waiting = [...main.querySelectorAll("template")];
  const unfold = (batch) => {
    const withImage = [...batch.content.querySelectorAll(".with-image")];
    batch.replaceWith(batch.content);
    withImage.forEach((card) => near.observe(card));
  };
  const unfoldAll = () => { while (waiting.length) unfold(waiting.shift()); };
  const idle = globalThis.requestIdleCallback ?? ((then) => setTimeout(then, 50));
  const unfoldLater = () => { if (waiting.length) { unfold(waiting.shift()); idle(unfoldLater, { timeout: 300 }); } };
  const find = (id) => $(id) ?? (unfoldAll(), $(id));

  // An image is loaded only when its card comes near the viewport.
  const show = (img) => {
    const from = img.dataset.like ? find(img.dataset.like) : img;
    img.decoding = "async";
    img.src = from.dataset.src;
  };
  const reveal = (card) => card.querySelectorAll("img").forEach(show);
  const near = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) if (isIntersecting) { reveal(target); near.unobserve(target); }
  }, { rootMargin: "800px" });
  document.querySelectorAll(".with-image").forEach((card, at) => at < 4 ? reveal(card) : near.observe(card));
  addEventListener("beforeprint", () => reveal(document));

  // Parsed on first use, so that opening a long report is fast.
  let cards = null;
  const read = () => cards ??= (unfoldAll(), [...main.querySelectorAll(".card")].map((el, at) => {
    const ops = [...el.querySelectorAll("li[data-t]")].map((op) => ({
      el: op, t: op.dataset.t, gold: op.parentElement.dataset.gold.split(" "), s: op.dataset.s, annotator: op.dataset.annotator, g: op.dataset.g,
      p: op.dataset.p === "" ? null : Number(op.dataset.p),
    }));
    const words = [...el.querySelectorAll(".id, .text, h3 > .to, h3 > bdi, .explanation")].map((w) => w.textContent);
    const ps = ops.map((o) => o.p).filter((p) => p !== null);
    return { el, at, ops, words: words.join("\n").toLowerCase(), low: Math.min(...ps), high: Math.max(...ps) };
  }));

  const state = () => {
    const f = new FormData(form);
    const value = (name) => f.get(name) ?? "";
    return {
      q: value("q").trim().toLowerCase(), a: value("a"), s: value("s"), g: value("g"), t: value("t"), o: value("o"),
      p: new Set(f.getAll("p")), from: Number(value("from")), to: Number(value("to")),
    };
  };
  const isFiltering = (f) => f.a || f.s || f.g || f.t || f.p.size < boxes.length || f.from > 0 || f.to < 1;
  const fits = (f, o) => f.p.has(o.t) && (!f.a || o.annotator === f.a) && (!f.s || o.s === f.s) && (!f.g || o.g === f.g) && (!f.t || o.gold.includes(f.t))
    && (o.p === null ? f.from === 0 && f.to === 1 : o.p >= f.from && o.p <= f.to);

  let order = "";
  const arrange = (newOrder) => {
    if (newOrder === order) return;
    order = newOrder;
    const compare = { low: (a, b) => a.low - b.low || a.at - b.at, high: (a, b) => b.high - a.high || a.at - b.at };
    const sorted = [...read()].sort(compare[order] ?? ((a, b) => a.at - b.at));
    main.prepend(...sorted.map((c) => c.el));
  };

  const apply = () => {
    const f = state(), filtering = isFiltering(f);
    let posts = 0, opinions = 0;
    for (const card of read()) {
      let hits = 0;
      for (const o of card.ops) {
        const fit = !filtering || fits(f, o);
        hits += fit;
        o.el.classList.toggle("dim", !fit);
      }
      const visible = (!filtering || hits > 0) && (!f.q || card.words.includes(f.q));
      card.el.hidden = !visible;
      if (visible) { posts += 1; opinions += hits; }
    }
    arrange(f.o);
    const narrow = filtering || f.q;
    const of = narrow ? `${plain.format(posts)} of ` : "";
    count.textContent = `${of}${counted(cards.length, "post")}, ${counted(opinions, "opinion")}`;
    count.classList.toggle("narrow", Boolean(narrow));
    nothing.hidden = posts > 0;
    $("range").textContent = `${f.from.toFixed(2)} to ${f.to.toFixed(2)}`;
  };

  const remember = () => {
    const f = state(), params = new URLSearchParams();
    for (const name of ["q", "a", "s", "g", "t", "o"]) if (f[name]) params.set(name, f[name]);
    if (f.p.size < boxes.length) params.set("p", [...f.p].join(","));
    if (f.from > 0) params.set("from", f.from);
    if (f.to < 1) params.set("to", f.to);
    history.replaceState(null, "", `#${params}`);
  };
  const recall = () => {
    if (!location.hash.includes("=")) return false;
    const params = new URLSearchParams(location.hash.slice(1));
    form.reset();
    for (const [name, value] of params) {
      if (name === "p") boxes.forEach((b) => { b.checked = value.split(",").includes(b.value); });
      else if (form.elements[name]) form.elements[name].value = value;
    }
    return true;
  };

  form.addEventListener("input", (e) => {
    // The two ends of the range never cross.
    const { from, to } = form.elements;
    if (e.target === from && Number(from.value) > Number(to.value)) to.value = from.value;
    if (e.target === to && Number(to.value) < Number(from.value)) from.value = to.value;
    apply(); remember();
  });
  form.querySelector("[type=reset]").addEventListener("click", () => setTimeout(() => { apply(); remember(); }));
  form.addEventListener("submit", (e) => e.preventDefault());
  // The URL may name a card that is still in a template.
  const goTo = () => {
    const id = location.hash.slice(1);
    if (id && !$(id)) find(id)?.scrollIntoView();
  };
  addEventListener("hashchange", () => { if (recall()) apply(); else goTo(); });
  addEventListener("keydown", (e) => {
    if (e.key !== "/" || e.ctrlKey || e.metaKey || /^(INPUT|SELECT|TEXTAREA)$/.test(e.target.tagName)) return;
    e.preventDefault(); $("panel").open = true; form.elements.q.focus();
  });

  // A quote scrolls to its words without changing the filters in the URL.
  document.addEventListener("click", (e) => {
    const link = e.target.closest("a.to");
    const words = link && $(link.hash.slice(1));
    if (!words) return;
    e.preventDefault();
    const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)").matches;
    words.scrollIntoView({ block: "center", behavior: reducedMotion ? "auto" : "smooth" });
    words.classList.remove("flash"); void words.offsetWidth; words.classList.add("flash");
  });

  const themes = ["system", "light", "dark"], button = $("theme");
  const paint = (theme) => { document.documentElement.dataset.theme = theme; button.textContent = `◐ ${theme}`; };
  const stored = (theme) => {
    // Private windows and some file viewers deny storage; the theme then lasts for this visit only.
    try { if (theme) localStorage.setItem("gen-msa-theme", theme); return localStorage.getItem("gen-msa-theme"); }
    catch (denied) { return theme ?? null; }
  };
  button.addEventListener("click", () => {
    const next = themes[(themes.indexOf(document.documentElement.dataset.theme) + 1) % themes.length];
    paint(next); stored(next);
  });

  paint(themes.includes(stored()) ? stored() : "system");
  button.hidden = $("panel").hidden = false;
  $("panel").open = matchMedia("(min-width: 60rem)").matches;
  $("range").textContent = "0.00 to 1.00";
  if (recall()) apply(); else goTo();
  addEventListener("load", () => idle(unfoldLater, { timeout: 300 }));
})();
