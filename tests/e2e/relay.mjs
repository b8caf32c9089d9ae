// The real `warren serve` on a port of its own with data of its own; it can be stopped and started again in a story.
import { spawn } from "node:child_process";
import { until } from "./tab.mjs";

const READY = /Warren is ready: (http:\/\/[^\s]+)/;
const START_MAX_MS = 15_000;

export class Relay {
  log = "";
  url = "";
  #process;
  #port = 0;

  /**
   * @param {{ program: string, site: string, dataDir: string, args?: string[], log?: string, address?: string }} options
   * `log`: what it logs, as in RUST_LOG. `address`: where others than this machine reach it, on port 8080.
   */
  constructor(options) {
    this.options = options;
  }

  /** Resolves once it is ready; again on the same port as before. */
  async start() {
    const { program, site, dataDir, args = [], log, address } = this.options;
    const place = address
      ? ["--listen", `${address}:8080`, "--public-url", `http://${address}:8080`]
      : ["--listen", `127.0.0.1:${this.#port}`];
    const child = spawn(program, ["serve", ...place, "--data-dir", dataDir, "--site", site, ...args], {
      env: { RUST_LOG: "info", ...process.env, ...(log && { RUST_LOG: log }) },
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#process = child;
    let said = "";
    child.stdout.on("data", (chunk) => (said += chunk));
    child.stderr.on("data", (chunk) => (this.log += chunk));
    child.on("exit", (code, signal) => (this.log += `warren serve ended with ${signal ?? code}\n`));
    const [, url] = await until(() => {
      if (child.exitCode !== null) throw new Error(`warren serve ended with ${child.exitCode}: ${this.log}`);
      return READY.exec(said);
    }, "warren serve to be ready", START_MAX_MS);
    this.url = url;
    this.#port = Number(new URL(url).port);
  }

  async stop() {
    const child = this.#process;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGKILL");
    await gone;
  }
}
