// `npm run mutants`: that the test of each attack in docs/security.md fails when its check is switched off.
// `npm run mutants -- H07 H12` tries some. See tests/mutations/README.md.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { ROOT, TARGET } from "./places.mjs";
import { Explained, step, task } from "./step.mjs";

const TREE = path.join(TARGET, "mutants");
/** A test that does not end without its check fails by that. */
const TEST_MS = 120_000;
const TEST_KIB = 4 << 20;
/** The variable that names the attack whose check is off. */
const SWITCH = "WARREN_SWITCHED_OFF";
const SWITCHED_OFF = `
/// Whether the check against this attack is switched off in this run.
pub fn switched_off(attack: &str) -> bool {
    thread_local! { static OFF: Option<String> = std::env::var("${SWITCH}").ok(); }
    OFF.with(|off| off.as_deref() == Some(attack))
}
`;

await task(async () => {
  const wanted = process.argv.slice(2);
  const attacks = readAttacks().filter(({ attack }) => !wanted.length || wanted.includes(attack));
  const unknown = wanted.filter((name) => !attacks.some(({ attack }) => attack === name));
  if (unknown.length) throw new Explained(`No such attack: ${unknown.join(", ")}`);
  await step("Mutants", async () => {
    writeTree(readAttacks());
    return `${attacks.length} attacks`;
  });
  const programs = await step("Building them", build);
  const whole = attacks.filter((attack) => runTest(programs, attack, "none").code !== 0);
  for (const { attack, test } of whole) console.log(`! ${attack}  ${test} fails with every check switched on`);
  const failed = [...whole];
  for (const attack of attacks.filter((attack) => !whole.includes(attack))) {
    const { code, seconds } = runTest(programs, attack, attack.attack);
    const caught = code !== 0;
    if (!caught) failed.push(attack);
    const verdict = caught ? "caught" : "NOT CAUGHT";
    console.log(`${caught ? " " : "!"} ${attack.attack}  ${verdict.padEnd(10)} ${seconds.toFixed(1).padStart(6)} s  ${attack.test}`);
  }
  console.log(`\n${attacks.length - failed.length} passed, ${failed.length} failed`);
  if (failed.length) process.exitCode = 1;
});

/** The entries of checks.json, each with the test that docs/security.md names for it. */
function readAttacks() {
  const rows = readFileSync(path.join(ROOT, "docs/security.md"), "utf8").matchAll(/^\| (H\d+) \|.*?\| `([a-z0-9_:]+::[a-z0-9_]+)` \|/gm);
  const tests = new Map([...rows].map(([, attack, test]) => [attack, test]));
  const entries = JSON.parse(readFileSync(path.join(ROOT, "tests/mutations/checks.json"), "utf8"));
  for (const { attack } of entries) if (!tests.has(attack)) throw new Explained(`docs/security.md has no test for ${attack}`);
  return entries.map((entry) => ({ ...entry, test: tests.get(entry.attack) }));
}

/** The tree with every check behind its switch. Files that are as they were keep their time, so that little is built anew. */
function writeTree(attacks) {
  const listed = spawnSync("git", ["ls-files", "-co", "--exclude-standard", "-z"], { cwd: ROOT, maxBuffer: 1 << 26 });
  if (listed.status !== 0) throw new Explained(`git ls-files: ${listed.stderr}`);
  const files = new Map();
  for (const name of listed.stdout.toString().split("\0").filter((name) => name && existsSync(path.join(ROOT, name)))) {
    files.set(name, readFileSync(path.join(ROOT, name)));
  }
  for (const [file, checks] of byFile(attacks)) files.set(file, Buffer.from(switched(file, files.get(file).toString(), checks)));
  for (const name of [...files.keys()].filter((name) => /(^|\/)Cargo\.(toml|lock)$/.test(name))) {
    files.set(name, Buffer.from(renumbered(name, files.get(name).toString())));
  }
  files.set("src/lib.rs", Buffer.concat([files.get("src/lib.rs"), Buffer.from(SWITCHED_OFF)]));
  for (const [name, content] of files) {
    const to = path.join(TREE, name);
    if (existsSync(to) && readFileSync(to).equals(content)) continue;
    mkdirSync(path.dirname(to), { recursive: true });
    writeFileSync(to, content);
  }
  const before = path.join(TREE, ".files");
  const names = [...files.keys()];
  const old = existsSync(before) ? JSON.parse(readFileSync(before, "utf8")) : [];
  for (const name of old) if (!files.has(name)) rmSync(path.join(TREE, name), { force: true });
  writeFileSync(before, JSON.stringify(names));
}

/** Our packages with another version: cargo would take the mutants' builds for those of the tree, in one target folder. */
function renumbered(name, text) {
  if (name.endsWith(".toml")) return text.replace(/^version = "([\d.]+)"$/m, 'version = "$1+mutants"');
  const packages = text.split("\n[[package]]\n");
  const ours = (text) => !text.includes("\nsource = ");
  const [head, ...rest] = packages.map((text) => (ours(text) ? text.replace(/^version = "([\d.]+)"$/m, 'version = "$1+mutants"') : text));
  return [head, ...rest].join("\n[[package]]\n");
}

function byFile(attacks) {
  const files = new Map();
  for (const { attack, checks } of attacks) {
    for (const { file, check, off } of checks) files.set(file, [...(files.get(file) ?? []), { attack, check, off }]);
  }
  return files;
}

/** The source with each check as `if switched_off(..) { off } else { check }`; several attacks may be met by one check. */
function switched(file, source, checks) {
  const edits = new Map();
  for (const { attack, check, off } of checks) {
    const [before, within, after] = check.split(/[«»]/);
    const text = before + within + after;
    const at = source.indexOf(text);
    if (at < 0 || source.indexOf(text, at + 1) >= 0) throw new Explained(`${attack}: not exactly once in ${file}: ${text}`);
    const start = at + before.length;
    const edit = edits.get(start) ?? { start, within, offs: [] };
    if (edit.within !== within) throw new Explained(`${attack}: overlaps with another check in ${file}: ${text}`);
    edit.offs.push({ attack, off });
    edits.set(start, edit);
  }
  const crate = file.startsWith("src/") ? "crate" : "warren";
  let result = source;
  for (const { start, within, offs } of [...edits.values()].sort((a, b) => b.start - a.start)) {
    const branches = offs.map(({ attack, off }) => `if ${crate}::switched_off("${attack}") { ${off} } else`).join(" ");
    result = `${result.slice(0, start)}(${branches} { ${within} })${result.slice(start + within.length)}`;
  }
  return result;
}

/** Builds the tests of the core and of the native program: resolves with the program of each, by the test's name. */
async function build(run) {
  const packages = ["-p", "warren", "-p", "warren-native"];
  const args = ["test", "--locked", "--no-run", "--message-format=json-render-diagnostics", ...packages, "--lib", "--bins", "--test", "it"];
  const { output } = await run("cargo", args, { cwd: TREE, env: { CARGO_TARGET_DIR: TARGET } });
  const programs = new Map();
  for (const line of output.split("\n").filter((line) => line.startsWith("{"))) {
    const { executable, profile } = JSON.parse(line);
    if (!executable || !profile.test) continue;
    const { stdout } = spawnSync(executable, ["--list", "--format", "terse"], { encoding: "utf8", maxBuffer: 1 << 26 });
    for (const [, test] of stdout.matchAll(/^(.+): test$/gm)) programs.set(test, executable);
  }
  return programs;
}

function runTest(programs, { test }, off) {
  const program = programs.get(test);
  if (!program) throw new Explained(`${test} is not there`);
  const started = performance.now();
  const env = { ...process.env, [SWITCH]: off, RUST_BACKTRACE: "0" };
  // Without its check an attack may fill all memory there is.
  const limited = ["-c", `ulimit -v ${TEST_KIB}; exec "$0" --exact "$1"`, program, test];
  const { status } = spawnSync("sh", limited, { cwd: TREE, env, timeout: TEST_MS, killSignal: "SIGKILL" });
  return { code: status ?? "time", seconds: (performance.now() - started) / 1000 };
}
