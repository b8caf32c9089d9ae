// `npm run clients`: clients that others wrote, unmodified, use a `warren node`.
import path from "node:path";
import { fileURLToPath } from "node:url";
import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import { installPython } from "./python.mjs";
import { ROOT } from "./places.mjs";
import { setUp } from "./setup.mjs";
import { Explained, step, task } from "./step.mjs";
import { testedWarren } from "./tested-warren.mjs";

const STORIES = path.join(ROOT, "tests", "clients");
const STORY_MAX_MS = 120_000;

/** Builds `warren` and has each client tell its story; resolves with `{ passed, failures }`. */
export async function clients() {
  const { startNode } = await import("../tests/warren-node.mjs");
  const counted = { passed: 0, failures: [] };
  const python = await installPython("clients", path.join(STORIES, "requirements.txt"));
  const told = [
    ["matrix-nio", python, "nio_story.py"],
    ["mautrix", python, "mautrix_story.py"],
    ["matrix-js-sdk", process.execPath, "js-sdk-story.mjs"],
  ];
  const data = mkdtempSync(path.join(os.tmpdir(), "warren-clients-"));
  let node;
  try {
    await step("warren for other clients", async (run) => {
      node = await startNode(data, { program: await testedWarren(run) });
    });
    for (const [name, command, story] of told) {
      try {
        await step(`A homeserver for ${name}`, (run) => run(command, [path.join(STORIES, story), node.url], { cwd: ROOT, timeoutMs: STORY_MAX_MS }));
        counted.passed++;
      } catch (error) {
        console.error(error.message);
        counted.failures.push({ name: `A homeserver for ${name}` });
      }
    }
  } catch (error) {
    console.error(error.message);
    counted.failures.push({ name: "A homeserver for other clients" });
  } finally {
    await node?.end("SIGTERM");
    rmSync(data, { recursive: true, force: true });
  }
  return counted;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await task(async () => {
    await setUp();
    const { passed, failures } = await clients();
    console.log(`\n${passed} passed, ${failures.length} failed`);
    if (failures.length) throw new Explained(failures.map(({ name }) => name).join("\n"));
  });
}
