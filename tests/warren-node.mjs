// `warren node` as a process of its own, in its production durability: started, asked for its memory, ended.
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import readline from "node:readline";

/** Starts `program` on `directory`; resolves once it says that it is ready, with how long that took. */
export async function startNode(directory, { program, flags = [] }) {
  const started = performance.now();
  // Whoever starts it here asks as fast as it answers.
  const always = ["--open-registration", "--rate-limits", "off", "--client-listen", "127.0.0.1:0"];
  const child = spawn(program, ["node", ...always, "--data-dir", directory, ...flags], {
    env: { RUST_LOG: "warn", ...process.env },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const ended = new Promise((resolve) => child.once("exit", resolve));
  const line = await new Promise((resolve, reject) => {
    readline.createInterface({ input: child.stdout }).once("line", resolve);
    child.once("exit", (code) => reject(new Error(`warren node ended with code ${code}`)));
    child.once("error", reject);
  });
  const startMs = performance.now() - started;
  return {
    startMs,
    url: line.replace("Warren is ready: ", ""),
    residentBytes: () => residentBytes(child.pid),
    end: async (signal) => {
      child.kill(signal);
      await ended;
    },
  };
}

/** Resident bytes of the process; undefined where the system does not tell. */
export function residentBytes(pid) {
  try {
    return Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))[1]) * 1024;
  } catch {
    return undefined;
  }
}
