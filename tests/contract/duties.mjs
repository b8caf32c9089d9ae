// Which sentences of the Matrix specification lay a duty on somebody, and whether docs/musts.md counts each of them: a new
// version of the specification shows as a difference. A sentence is known by a digest, so that none is copied.
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { parse } from "yaml";

/** Digits of a sentence's digest: enough that no two of some hundred share them. */
const DIGEST_CHARS = 8;

/** The parts of the specification's `data` folder, by what the numbers of their duties begin with. */
const PARTS = { CS: "client-server", SS: "server-server" };

/**
 * What differs between the duties in the specification's `data` folder and those in the table, in words.
 * @param {string} directory the `data` folder
 * @param {string} table the text of docs/musts.md
 * @returns {string[]} one line each; none when every sentence is counted
 */
export function uncountedDuties(directory, table) {
  const stated = Object.entries(PARTS).flatMap(([part, folder]) => dutiesOf(part, path.join(directory, "api", folder)));
  const counted = countedDuties(table);
  const missing = stated
    .filter(({ module, digest }) => !counted.has(`${module} ${digest}`))
    .map(({ module, digest, at, sentence }) => `${module}: nothing counts ${digest} (${at}): ${sentence}`);
  const known = new Set(stated.map(({ module, digest }) => `${module} ${digest}`));
  const stale = [...counted].filter((duty) => !known.has(duty)).map((duty) => `${duty} is counted, and the specification has no such sentence`);
  return [...missing, ...stale];
}

/** Each duty of the files of a folder: `{ module, digest, at, sentence }`. What several operations share is one module. */
export function dutiesOf(part, folder) {
  if (!existsSync(folder)) throw new Error(`${folder} is not there`);
  const files = readdirSync(folder, { recursive: true }).filter((name) => name.endsWith(".yaml")).sort();
  return files.flatMap((name) => {
    const module = `${part}-${name.includes(path.sep) ? name.split(path.sep)[0] : path.basename(name, ".yaml")}`;
    const document = parse(readFileSync(path.join(folder, name), "utf8"), { maxAliasCount: -1 });
    return textsOf(document, []).flatMap(([at, text]) => sentencesOf(text).filter(binds).map((sentence) => ({ module, digest: digestOf(sentence), at, sentence })));
  });
}

/** Whatever describes, wherever it stands, with its place. */
function textsOf(node, at) {
  if (typeof node === "string") return ["description", "summary"].includes(at.at(-1)) ? [[at.slice(1, -1).join(" "), node]] : [];
  if (!node || typeof node !== "object") return [];
  return Object.entries(node).flatMap(([key, child]) => textsOf(child, [...at, key]));
}

/** Paragraphs and points of lists end a sentence, too. */
function sentencesOf(text) {
  const parts = text.split(/\n\s*\n|\n\s*[-*] |\n\s*\d+\. /);
  return parts.flatMap((part) => part.replace(/\s+/g, " ").trim().split(/(?<=[.!?:])\s+(?=[A-Z`*(])/));
}

function binds(sentence) {
  return /\bmust\b/i.test(sentence) || /\b(REQUIRED|SHALL)\b/.test(sentence);
}

function digestOf(sentence) {
  return createHash("sha256").update(sentence).digest("hex").slice(0, DIGEST_CHARS);
}

/** `module digest` of each sentence that a row of the table names. */
function countedDuties(table) {
  const rows = table.split("\n").map((line) => /^\| ((?:CS|SS)-[\w-]+)-\d+ \|.*\| ([0-9a-f ]+) \|$/.exec(line)).filter(Boolean);
  return new Set(rows.flatMap(([, module, digests]) => digests.split(" ").map((digest) => `${module} ${digest}`)));
}
