"use strict";
// Shows /status.json. All texts go in by textContent. Rows are written in place and keep their heights, so that nothing moves under a
// reader's eyes when only numbers change.

const EVERY = 2000, PATIENCE = 8000, SHOWN = 100, LEAST_SLOTS = 3;
const by = (id) => document.getElementById(id);
const body = (id) => by(id).tBodies[0];

function set(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function make(tag, text, kind) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (kind) element.className = kind;
  return element;
}

// Characters that can't be seen, or that turn the direction of writing, are written out: a name must not look like another one.
function printable(text) {
  const odd = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufeff\uffa0]/gu;
  return text.replace(odd, (c) => `\\u{${c.codePointAt(0).toString(16)}}`);
}

function size(bytes) {
  if (bytes < 1024) return bytes === 1 ? "1 byte" : `${bytes} bytes`;
  const units = ["KiB", "MiB", "GiB", "TiB", "PiB"];
  let number = bytes / 1024, unit = 0;
  for (; number >= 1023.5 && unit < 4; unit++) number /= 1024;
  return `${number.toFixed(number < 9.95 ? 1 : 0)} ${units[unit]}`;
}

function span(seconds) {
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} days`;
}

const count = (number) => number.toLocaleString("en");
const files = (number) => `${count(number)} ${number === 1 ? "file" : "files"}`;

// The time of day, with the date where that is not today's.
function at(time, seconds) {
  const date = new Date(time), two = (number) => String(number).padStart(2, "0");
  const clock = `${two(date.getHours())}:${two(date.getMinutes())}${seconds ? `:${two(date.getSeconds())}` : ""}`;
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return date.toDateString() === new Date().toDateString() ? clock : `${day} ${clock}`;
}

// Makes a table have so many rows. Rows are made and removed at the end only.
function rows(table, number, fresh) {
  while (table.rows.length > number) table.deleteRow(-1);
  while (table.rows.length < number) {
    const row = fresh();
    row.setAttribute("role", "row");
    for (const cell of row.cells) cell.setAttribute("role", cell.tagName === "TH" ? "rowheader" : "cell");
    table.append(row);
  }
  return table.rows;
}

function headed(...cells) {
  const row = make("tr"), head = make("th");
  head.scope = "row";
  head.append(make("bdi"), make("span", "", "sub"));
  row.append(head, ...cells);
  return row;
}

function write(cell, text, below) {
  set(cell.firstChild, text);
  set(cell.lastChild, below);
}

function showFolders(folders) {
  const number = (label) => {
    const cell = make("td", undefined, "number");
    cell.dataset.label = label;
    cell.append(make("span"), make("span", "", "sub"));
    return cell;
  };
  const fresh = () => headed(number("Stored today"), number("Waiting"), number("Need you"));
  const all = rows(body("folders"), folders.length, fresh);
  folders.forEach((folder, index) => {
    const [head, stored, waiting, failed] = all[index].cells;
    const oldest = folder.waiting.oldest_seconds;
    write(head, printable(folder.local_path), `to ${printable(folder.remote_path)}`);
    write(stored, count(folder.stored_today.files), size(folder.stored_today.bytes));
    write(waiting, count(folder.waiting.files), size(folder.waiting.bytes) + (oldest > 0 ? `, oldest ${span(oldest)}` : ""));
    write(failed, count(folder.failed), folder.failed ? "see below" : "");
    failed.firstChild.className = folder.failed ? "mark" : "";
  });
}

// Each upload keeps its row until it ends; then the row is free for another one.
let slots = Array(LEAST_SLOTS).fill(null);

function place(uploads) {
  const left = new Map(uploads.map((upload) => [upload.local_path, upload]));
  slots = slots.map((old) => {
    const now = old && left.get(old.local_path);
    if (now) left.delete(now.local_path);
    return now || null;
  });
  for (const upload of left.values()) {
    const free = slots.indexOf(null);
    if (free >= 0) slots[free] = upload; else slots.push(upload);
  }
}

// The last part of a path in the foreground, the folder below it.
function split(folder, path) {
  const below = path.startsWith(`${folder}/`) ? path.slice(folder.length + 1) : path;
  return [printable(below), printable(folder)];
}

function showTransfers(folders) {
  place(folders.flatMap((folder) => folder.transfers.map((upload) => ({ ...upload, folder: folder.local_path }))));
  const fresh = () => {
    const bar = make("td");
    const progress = make("progress");
    bar.append(progress);
    return headed(bar, make("td", "", "number"), make("td", "", "number"), make("td", "", "number"));
  };
  const all = rows(body("transfers"), slots.length, fresh), idle = slots.every((slot) => !slot);
  slots.forEach((upload, index) => {
    const [head, bar, sent, rate, left] = all[index].cells, progress = bar.firstChild;
    progress.hidden = !upload;
    all[index].classList.toggle("empty", !upload);
    if (!upload) {
      write(head, idle && index === 0 ? "Nothing just now" : "", "");
      for (const cell of [sent, rate, left]) set(cell, "");
      head.title = "";
      return;
    }
    const [name, folder] = split(upload.folder, upload.local_path), done = upload.sent >= upload.size;
    const percent = upload.size ? Math.floor(100 * upload.sent / upload.size) : 100;
    write(head, name, folder);
    head.title = name;
    progress.max = upload.size || 1;
    progress.value = upload.size ? upload.sent : 1;
    progress.setAttribute("aria-label", `${percent} %`);
    set(sent, `${percent} % of ${size(upload.size)}`);
    set(rate, done || upload.rate === null ? "" : `${size(upload.rate)}/s`);
    set(left, done ? "answer awaited" : upload.seconds_left === null ? "" : span(upload.seconds_left));
  });
}

function showFiles(folders) {
  const every = folders.flatMap((folder) => folder.files.map((file) => ({ ...file, folder: folder.local_path })));
  const kept = every.filter((file) => file.standing === "kept").length;
  const all = every.filter((file) => file.standing !== "kept");
  // What needs a person first, then what a person can change, then what goes by itself.
  const rank = (file) => (file.needs_a_person ? 0 : file.mend ? 1 : 2);
  all.sort((a, b) => rank(a) - rank(b) || (a.local_path < b.local_path ? -1 : 1));
  const reason = () => {
    const cell = make("td");
    cell.append(make("span", "", "mark"), make("span"));
    return cell;
  };
  const shown = all.slice(0, SHOWN), fresh = () => headed(reason(), make("td"));
  const table = rows(body("files"), Math.max(shown.length, 1), fresh);
  if (!shown.length) {
    const [head, why, mend] = table[0].cells;
    table[0].className = "empty";
    write(head, "None", "");
    write(why, "", "");
    set(mend, "");
  }
  shown.forEach((file, index) => {
    const row = table[index], [head, why, mend] = row.cells, [name, folder] = split(file.folder, file.local_path);
    row.className = file.needs_a_person ? "needs" : "";
    write(head, name, folder + (file.size === null ? "" : `, ${size(file.size)}`));
    write(why, file.needs_a_person ? "Needs you: " : "", printable(file.reason) + (file.since ? ` (since ${at(file.since)})` : ""));
    set(mend, printable(file.mend || ""));
  });
  const complete = folders.every((folder) => folder.complete), lines = [];
  if (kept) lines.push(`${complete ? "" : "At least "}${files(kept)} stored, and kept here as configured.`);
  if (all.length > shown.length || !complete) lines.push("There are more: astran-backup status --json has them all.");
  set(by("more"), lines.join(" "));
}

const PARTS = { start: "The start", progress: "All files", service: "The service", login: "The login", journal: "The journal" };

function part(trouble) {
  if (!trouble.folder) return PARTS[trouble.component] || printable(trouble.component);
  return `${trouble.component === "destination" ? "The destination of" : "The folder"} ${printable(trouble.folder)}`;
}

function verdict(kind, sign, headline, detail, troubles) {
  if (by("verdict").className !== kind) by("verdict").className = kind;
  set(by("sign"), sign);
  set(by("headline"), headline);
  detail.forEach((text, index) => set(by("detail").children[index], text));
  const title = `${headline} – astran-backup`;
  if (document.title !== title) document.title = title;
  // Written only when something has changed: what is written here is read out.
  const key = JSON.stringify(troubles);
  if (by("troubles").dataset.key === key) return;
  by("troubles").dataset.key = key;
  by("troubles").replaceChildren(...troubles.map(([who, what]) => {
    const line = make("li");
    line.append(make("strong", who), `: ${what}`);
    return line;
  }));
}

function show(status) {
  const { folders, troubles } = status, sum = (of) => folders.reduce((all, folder) => all + of(folder), 0);
  const failed = sum((folder) => folder.failed), waiting = sum((folder) => folder.waiting.files);
  const uploads = folders.flatMap((folder) => folder.transfers);
  const rate = uploads.reduce((all, upload) => all + (upload.rate || 0), 0);
  const words = [
    `${count(sum((folder) => folder.stored_today.files))} stored today`,
    waiting ? `${count(waiting)} waiting (${size(sum((folder) => folder.waiting.bytes))})` : "nothing waiting",
  ];
  words.push(uploads.length ? `${count(uploads.length)} uploading${rate ? `, ${size(rate)}/s together` : ""}` : "none uploading");
  const lines = troubles.map((trouble) =>
    [part(trouble), printable(trouble.reason) + (trouble.since ? ` (since ${at(trouble.since)})` : "")]);
  const reload = status.failed_reload;
  if (reload) lines.unshift([`The reload at ${at(reload.at)} failed`, `the configuration before it holds: ${printable(reload.reason)}`]);
  const need = `${files(failed)} ${failed === 1 ? "needs" : "need"} you`;
  const starting = troubles.length && troubles.every((trouble) => trouble.component === "start");
  if (starting && !failed) verdict("start", "…", "Starting", words, lines);
  else if (troubles.length) verdict(failed ? "needs" : "held", "!", failed ? `Uploads are held up, and ${need}` : "Uploads are held up", words, lines);
  else if (failed) verdict("needs", "!", need, words, lines);
  else if (reload) verdict("needs", "!", "The configuration needs you", words, lines);
  else verdict("well", "✓", "All is well", words, []);

  const who = [`version ${status.version}`];
  if (status.since) who.push(`running since ${at(status.since)}`);
  if (status.user) who.push(`as ${printable(status.user)}`);
  if (status.limit_rate) who.push(`limited to ${size(status.limit_rate)}/s`);
  set(by("who"), who.join(" · "));
  showFolders(folders);
  showTransfers(folders);
  showFiles(folders);
  by("body").hidden = false;
}

// The newest status, and since when there is none.
let last = null, lost = null;

class Refused extends Error {}

async function ask() {
  const answer = await fetch("status.json", { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
  if (!answer.ok) throw new Refused(printable((await answer.text()).trim()));
  return answer.json();
}

async function refresh() {
  try {
    const status = await ask();
    // A newer daemon has a newer page.
    if (last && last.version !== status.version) return location.reload();
    [last, lost] = [status, null];
    document.body.classList.remove("stale");
    show(status);
  } catch (error) {
    lost ??= Date.now();
    const refused = error instanceof Refused;
    const old = last ? `What follows is from ${at(last.time, true)}.` : "Nothing is known of it yet.";
    document.body.classList.add("stale");
    verdict("lost", "?", refused ? "The daemon can't tell its status" : "The daemon does not answer", [old, "", ""], [
      [`Since ${at(lost, true)}`, refused ? error.message : "it has ended, or this machine can't reach it"],
    ]);
  }
  setTimeout(refresh, EVERY);
}

refresh();
