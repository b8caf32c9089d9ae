// One step of a task: one quiet line with the time it took; everything it printed only when it fails.
import { spawn } from "node:child_process";
import { createWriteStream, mkdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { LOGS } from "./places.mjs";

/** How much of a failed step's output is shown; all of it is in the log file. */
const SHOWN_LINES = 80;

/** A failure that has been explained in full: the task prints the message and nothing else. */
export class Explained extends Error {}

/**
 * Runs `work` and prints `title` with the elapsed time. `work` gets a function that runs commands into the step's log.
 * @param {string} title
 * @param {(run: ReturnType<typeof runner>) => Promise<any>} work a string it returns is shown beside the title
 */
export async function step(title, work) {
  const log = path.join(LOGS, `${title.toLowerCase().replace(/[^a-z0-9]+/g, "-")}.log`);
  mkdirSync(LOGS, { recursive: true });
  const started = performance.now();
  const waiting = process.stdout.isTTY ? `  ${title} …` : "";
  process.stdout.write(waiting);
  const finish = (mark, note = "") => {
    const seconds = ((performance.now() - started) / 1000).toFixed(1);
    process.stdout.write(`${waiting && "\r\x1b[K"}${mark} ${title.padEnd(34)} ${seconds.padStart(7)} s${note && `  ${note}`}\n`);
  };
  const run = runner(log);
  try {
    const result = await work(run);
    finish(" ", typeof result === "string" ? result : result?.note);
    return result;
  } catch (error) {
    finish("!");
    if (error instanceof Explained) throw error;
    const shown = error instanceof CommandFailed ? tail(log) : (error.stack ?? String(error));
    throw new Explained(`${shown}\n\n${title}: ${error.message}\nAll of its output: ${log}`);
  } finally {
    run.close();
  }
}

/**
 * A step of tests that count themselves: resolves with `{ passed, failures }` whatever happens, and prints why some failed.
 * @param {(run: ReturnType<typeof runner>) => Promise<{ passed: number, failures: { name: string, message: string }[] }>} work
 */
export async function countedStep(title, work) {
  let counted = { passed: 0, failures: [] };
  try {
    await step(title, async (run) => {
      counted = await work(run);
      const why = counted.failures.map(({ name, message }) => `${name}\n${message}\n`).join("\n");
      if (why) throw new Error(`${why}\n${counted.failures.length} failed`);
      return `${counted.passed} passed`;
    });
  } catch (error) {
    if (!counted.failures.length) counted.failures.push({ name: title });
    console.error(error.message);
  }
  return counted;
}

class CommandFailed extends Error {}

/** A function that runs a command with its output going to `log`, resolving with what it printed. */
function runner(log) {
  const file = createWriteStream(log);
  /** @param {{ env?: object, cwd?: string, mayFail?: boolean, timeoutMs?: number }} options */
  const run = (command, args, { env = {}, cwd, mayFail = false, timeoutMs } = {}) =>
    new Promise((resolve, reject) => {
      file.write(`$ ${command} ${args.join(" ")}\n`);
      const child = spawn(command, args, { cwd, env: { ...process.env, ...env }, stdio: ["ignore", "pipe", "pipe"] });
      const chunks = [];
      const timer = timeoutMs && setTimeout(() => child.kill("SIGKILL"), timeoutMs);
      for (const stream of [child.stdout, child.stderr]) {
        stream.on("data", (chunk) => {
          file.write(chunk);
          chunks.push(chunk);
        });
      }
      child.on("error", (error) => reject(new CommandFailed(`${command} could not be run (${error.message})`)));
      child.on("close", (code, signal) => {
        clearTimeout(timer);
        const output = Buffer.concat(chunks).toString();
        if (code === 0 || mayFail) resolve({ code, output });
        else reject(new CommandFailed(`${command} ended with ${signal ?? `code ${code}`}`));
      });
    });
  run.close = () => file.end();
  run.write = (text) => file.write(text);
  return run;
}

function tail(log) {
  return readFileSync(log, "utf8").trimEnd().split("\n").slice(-SHOWN_LINES).join("\n");
}

/** Runs a whole task; a failure is told in words and sets the exit code. */
export async function task(work) {
  try {
    await work();
  } catch (error) {
    console.error(`\n${error instanceof Explained ? error.message : (error.stack ?? error)}`);
    process.exitCode = 1;
  }
}
