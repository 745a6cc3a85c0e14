// The keyboard of the review pages: marks on a page, choices in Focus, and sending them. Nothing is decided here: a page
// is sent with its page_id, and the server decides, once, however often it is sent.
"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const main = byId("main");
  const work = main ? main.dataset.work : "";
  const pageId = main ? main.dataset.page : "";
  let sending = false;

  function fault(sentence) {
    const place = byId("fault");
    place.textContent = "";
    if (!sentence) return;
    const line = document.createElement("p");
    line.className = "note fault";
    line.textContent = sentence;
    place.append(line);
  }

  // Sends JSON. What is marked stays on the page until the server has written it.
  async function send(address, content) {
    if (sending) return;
    sending = true;
    document.body.classList.add("sending");
    fault("");
    try {
      const response = await fetch(address, {
        method: "POST",
        headers: { "Content-Type": "application/json", Accept: "application/json" },
        body: JSON.stringify(content),
      });
      const answer = await response.json();
      if (response.ok) {
        forget();
        location.assign(answer.next);
        return;
      }
      fault(answer.error || "The server refused this; try again.");
    } catch {
      fault("The server cannot be reached. What you marked is still here: press the key again when it is back.");
    }
    sending = false;
    document.body.classList.remove("sending");
  }

  // Marks outlive a reload of the page and a login in between.
  const memory = `page ${pageId}`;
  const remember = (marks) => { try { sessionStorage.setItem(memory, JSON.stringify(marks)); } catch { /* not needed */ } };
  const remembered = () => { try { return JSON.parse(sessionStorage.getItem(memory)); } catch { return null; } };
  const forget = () => { try { sessionStorage.removeItem(memory); } catch { /* not needed */ } };

  // The digit of a key, by its place: on some keyboards the upper row gives digits with Shift alone.
  function digitOf(event) {
    const found = /^(?:Digit|Numpad)([1-9])$/.exec(event.code) || /^([1-9])$/.exec(event.key);
    return found ? Number(found[1]) : 0;
  }

  let isMarked = () => false; // whether this page has marks that nobody sent yet
  let warned = false;

  // Taking a page back opens that one again, without what is marked here.
  function takeBack() {
    if (isMarked() && !warned) {
      warned = true;
      fault("What you marked on this page would be lost: press z again to take the last page back, or Enter to send this one.");
      return;
    }
    send("/back", {});
  }

  function queue() {
    const tiles = [...document.querySelectorAll(".tile")];
    if (!tiles.length) return () => false;
    const wrong = new Set(tiles.filter((tile) => tile.getAttribute("aria-pressed") === "true").map((tile) => tile.dataset.place));
    const chosen = new Map(tiles.filter((tile) => "chosen" in tile.dataset).map((tile) => [tile.dataset.place, tile.dataset.chosen]));
    const buttons = [...document.querySelectorAll("[data-leaf]")];
    const groups = buttons.length > 0;
    const names = new Map(buttons.map((button) => [button.dataset.leaf, button.dataset.name]));
    let current = tiles[0];

    function show() {
      for (const tile of tiles) {
        const place = tile.dataset.place;
        const isWrong = wrong.has(place);
        tile.setAttribute("aria-pressed", String(isWrong));
        tile.querySelector(".reader").textContent = isWrong ? "marked as wrong" : "";
        const choice = tile.querySelector(".choice");
        choice.hidden = isWrong || !chosen.has(place);
        choice.textContent = chosen.has(place) ? names.get(chosen.get(place)) : "";
      }
      const open = tiles.filter((tile) => !wrong.has(tile.dataset.place) && !chosen.has(tile.dataset.place)).length;
      const parts = [];
      if (groups) {
        parts.push(`${chosen.size} chosen`, `${open} still open`);
      } else {
        const settled = tiles.filter((tile) => "settled" in tile.dataset && !wrong.has(tile.dataset.place)).length;
        parts.push(`${tiles.length - wrong.size - settled} of ${tiles.length} count as right`);
        if (settled) parts.push(`${settled} decided already`);
      }
      parts.push(`${wrong.size} marked`);
      byId("count").textContent = parts.join(" · ");
      remember({ wrong: [...wrong], chosen: [...chosen] });
    }

    function go(tile) {
      if (!tile) return;
      current.tabIndex = -1;
      current = tile;
      tile.tabIndex = 0;
      tile.focus();
    }

    // One row down or up: the tile of the next row that is nearest in its column.
    function vertically(step) {
      const here = current.getBoundingClientRect();
      const rows = tiles.filter((tile) => (tile.getBoundingClientRect().top - here.top) * step > 4);
      const distance = (tile) => {
        const there = tile.getBoundingClientRect();
        return Math.abs(there.top - here.top) * 10 + Math.abs(there.left - here.left);
      };
      go(rows.sort((one, other) => distance(one) - distance(other))[0]);
    }

    function mark(tile) {
      const place = tile.dataset.place;
      if (!wrong.delete(place)) wrong.add(place);
      chosen.delete(place);
      show();
    }

    function choose(leaf, all) {
      const open = tiles.filter((tile) => !wrong.has(tile.dataset.place) && !chosen.has(tile.dataset.place));
      for (const tile of all ? open : [current]) {
        wrong.delete(tile.dataset.place);
        chosen.set(tile.dataset.place, leaf);
      }
      show();
      if (!all) go(tiles[tiles.indexOf(current) + 1] || current);
    }

    function sendPage() {
      warned = false;
      if (groups && !wrong.size && !chosen.size) {
        fault("Choose a category for at least one product first: 1 to 9, or a for the group alone.");
        return;
      }
      send("/page", { page_id: pageId, wrong: [...wrong].map(Number), leaves: Object.fromEntries(chosen) });
    }

    const state = () => JSON.stringify([[...wrong].sort(), [...chosen].sort()]);
    const opened = state();
    isMarked = () => state() !== opened;
    const before = remembered();
    if (before) {
      wrong.clear();
      chosen.clear();
      before.wrong.forEach((place) => wrong.add(place));
      before.chosen.forEach(([place, leaf]) => chosen.set(place, leaf));
    }
    for (const tile of tiles) {
      tile.addEventListener("click", () => { go(tile); if (!groups) mark(tile); });
      tile.addEventListener("focus", () => { current.tabIndex = -1; current = tile; tile.tabIndex = 0; });
    }
    for (const button of buttons) button.addEventListener("click", () => choose(button.dataset.leaf, false));
    for (const button of document.querySelectorAll("[data-mark]")) button.addEventListener("click", () => { mark(current); go(current); });
    byId("send").addEventListener("click", sendPage);
    show();
    current.focus({ preventScroll: true });

    return (key, event) => {
      const onTile = event.target.closest(".tile") !== null || event.target === document.body;
      if (key === "Enter" && !onTile) return false; // links and buttons keep their own Enter
      const place = tiles.indexOf(current);
      const digit = digitOf(event);
      if (key === "ArrowRight") go(tiles[place + 1]);
      else if (key === "ArrowLeft") go(tiles[place - 1]);
      else if (key === "ArrowDown") vertically(1);
      else if (key === "ArrowUp") vertically(-1);
      else if (key === "Home") go(tiles[0]);
      else if (key === "End") go(tiles[tiles.length - 1]);
      else if (key === "x") { mark(current); if (groups) go(tiles[place + 1] || current); }
      else if (key === "Enter") sendPage();
      else if (key === "f") location.assign("/focus");
      else if (key === "o") location.assign(`/product?id=${encodeURIComponent(current.dataset.product)}`);
      else if (groups && key === "a") choose("", event.shiftKey);
      else if (groups && digit && buttons[digit - 1] && buttons[digit - 1].dataset.leaf) choose(buttons[digit - 1].dataset.leaf, event.shiftKey && !/[1-9]/.test(event.key));
      else return false;
      return true;
    };
  }

  function focus() {
    const choices = [...document.querySelectorAll("[data-choose]")];
    const find = byId("find");
    const found = byId("found");
    let waiting = 0;
    let selected = 0;
    const decide = (action, category) => send("/focus", { page_id: pageId, action, category_id: category, why: byId("why").value });
    const options = () => [...found.children].filter((line) => line.dataset.category !== undefined);

    function select(number) {
      const all = options();
      if (!all.length) return;
      selected = (number + all.length) % all.length;
      all.forEach((line, place) => line.setAttribute("aria-selected", String(place === selected)));
      find.setAttribute("aria-activedescendant", all[selected].id);
      all[selected].scrollIntoView({ block: "nearest" });
    }

    // What was found for another text is no longer shown, so that Enter cannot choose it.
    function nothingFound() {
      found.textContent = "";
      found.hidden = true;
      find.setAttribute("aria-expanded", "false");
      find.removeAttribute("aria-activedescendant");
    }

    async function search() {
      const text = find.value;
      const response = text.trim() ? await fetch(`/categories?q=${encodeURIComponent(text)}`, { headers: { Accept: "application/json" } }) : null;
      const answer = response ? await response.json() : [];
      if (text !== find.value) return; // a later search is on its way
      if (response && !response.ok) { fault(answer.error); return; }
      nothingFound();
      answer.forEach(([category, path], place) => {
        const line = document.createElement("li");
        line.id = `found-${place}`;
        line.setAttribute("role", "option");
        line.dataset.category = category;
        line.textContent = path;
        line.addEventListener("click", () => decide("set", category));
        found.append(line);
      });
      if (response && !answer.length) {
        const line = document.createElement("li");
        line.className = "muted";
        line.textContent = "no category has this in its path";
        found.append(line);
      }
      found.hidden = !response;
      find.setAttribute("aria-expanded", String(Boolean(response)));
      select(0);
    }

    for (const button of choices) button.addEventListener("click", () => decide("set", button.dataset.choose));
    byId("none").addEventListener("click", () => decide("none", null));
    byId("skip").addEventListener("click", () => decide("skip", null));
    find.addEventListener("input", () => {
      nothingFound();
      clearTimeout(waiting);
      waiting = setTimeout(() => search().catch(() => fault("The server cannot be reached; try again.")), 80);
    });
    find.addEventListener("keydown", (event) => {
      if (event.key === "ArrowDown") select(selected + 1);
      else if (event.key === "ArrowUp") select(selected - 1);
      else if (event.key === "Enter" && options()[selected]) decide("set", options()[selected].dataset.category);
      else if (event.key === "Escape") { find.value = ""; search(); find.blur(); }
      else return;
      event.preventDefault();
    });
    byId("why").addEventListener("keydown", (event) => { if (event.key === "Escape" || event.key === "Enter") event.target.blur(); });
    for (const link of document.querySelectorAll("[data-large]")) {
      link.addEventListener("click", (event) => {
        event.preventDefault();
        const image = document.createElement("img"); // a new one: the first may be gone, and a text in its place
        image.alt = document.querySelector("h1").textContent;
        image.src = link.href;
        byId("large").replaceChildren(image);
      });
    }

    return (key, event) => {
      const digit = digitOf(event);
      if (digit && choices[digit - 1]) decide("set", choices[digit - 1].dataset.choose);
      else if (key === "/") find.focus();
      else if (key === "r") byId("why").focus();
      else if (key === "s") decide("skip", null);
      else if (key === "u") decide("none", null);
      else if (key === "q") location.assign(document.querySelector("nav a").href);
      else return false;
      return true;
    };
  }

  // A picture whose file is gone says so, and the page goes on without it.
  document.addEventListener("error", (event) => {
    if (!(event.target instanceof HTMLImageElement)) return;
    const text = document.createElement("span");
    text.className = "no-picture";
    text.textContent = "no picture at hand";
    event.target.replaceWith(text);
  }, true);
  for (const image of document.images) if (image.complete && !image.naturalWidth) image.dispatchEvent(new Event("error"));

  if (innerWidth < 900) for (const part of document.querySelectorAll("[data-narrow-closed]")) part.open = false;

  for (const input of document.querySelectorAll("[data-categories]")) {
    input.addEventListener("input", async () => {
      const text = input.value;
      const response = await fetch(`/categories?q=${encodeURIComponent(text)}`, { headers: { Accept: "application/json" } }).catch(() => null);
      if (!response || !response.ok) return;
      const answer = await response.json();
      if (text !== input.value) return; // a later search is on its way
      const options = answer.map(([category, path]) => {
        const option = document.createElement("option");
        option.value = category;
        option.label = path;
        return option;
      });
      input.list.replaceChildren(...options);
    });
  }

  const pressed = work === "queue" ? queue() : work === "focus" && byId("none") ? focus() : () => false;
  const keys = byId("keys");
  if (byId("help")) byId("help").addEventListener("click", () => keys.showModal());
  if (byId("back")) byId("back").addEventListener("click", takeBack);
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || (keys && keys.open)) return;
    if (event.target.closest("input, select, textarea")) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key; // also with Caps Lock
    if (pressed(key, event)) event.preventDefault();
    else if (key === "?" && keys) keys.showModal();
    else if (key === "z" && (work === "queue" || work === "focus" || work === "")) takeBack();
    else return;
    event.preventDefault();
  });
})();
