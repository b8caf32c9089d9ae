// Synapse as PyPI has it, with SQLite and without rate limits, as a process of this machine.
import { execFileSync, spawn } from "node:child_process";
import { closeSync, openSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";

const START_MAX_MS = 120_000;
/** How much of what Synapse said last is shown when it does not start. */
const SAID_SHOWN_CHARS = 2_000;
/** Limits that nobody here reaches. */
const UNLIMITED = "{ per_second: 1000000, burst_count: 1000000 }";

export function synapseVersion(python) {
  return execFileSync(python, ["-c", "import synapse; print(synapse.__version__)"], { encoding: "utf8" }).trim();
}

/**
 * Starts the Synapse of `python` in the directory `home`; resolves once its clients are answered.
 * @param {{ serverName: string, clientPort: number, listeners?: string[], configuration?: string, logLevel?: string, environment?: object }} settings
 *   what it listens on beside `clientPort`, more of its configuration and variables for its process
 * @returns {Promise<{ url: string, pid: number, end: () => Promise<void> }>}
 */
export async function startSynapse(python, home, { clientPort, environment = {}, ...settings }) {
  const config = path.join(home, "homeserver.yaml");
  writeFileSync(config, configurationOf(home, { clientPort, ...settings }));
  const synapse = ["-m", "synapse.app.homeserver", "--config-path", config];
  execFileSync(python, [...synapse, "--generate-keys"], { stdio: "ignore" });
  const saidFile = path.join(home, "said.txt");
  const said = openSync(saidFile, "w");
  const child = spawn(python, synapse, { stdio: ["ignore", said, said], env: { ...process.env, ...environment } });
  closeSync(said);
  const ended = new Promise((resolve) => child.once("exit", resolve));
  const hasEnded = () => child.exitCode !== null || child.signalCode !== null;
  const end = async () => {
    child.kill("SIGTERM");
    await ended;
  };
  const url = `http://127.0.0.1:${clientPort}`;
  const deadline = performance.now() + START_MAX_MS;
  while (!(await fetch(`${url}/_matrix/client/versions`).catch(() => undefined))?.ok) {
    if (hasEnded() || performance.now() > deadline) {
      if (!hasEnded()) await end();
      const words = readFileSync(saidFile, "utf8").trim().slice(-SAID_SHOWN_CHARS);
      throw new Error(`Synapse does not start (${child.signalCode ?? child.exitCode}): ${words}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  return { url, pid: child.pid, end };
}

function configurationOf(home, { serverName, clientPort, listeners = [], configuration = "", logLevel = "ERROR" }) {
  const clients = `{ port: ${clientPort}, type: http, bind_addresses: ["127.0.0.1"], resources: [{ names: [client] }] }`;
  return `
server_name: ${serverName}
pid_file: ${home}/synapse.pid
listeners: [${[clients, ...listeners].join(", ")}]
database: { name: sqlite3, args: { database: "${home}/synapse.db" } }
log_config: ${writeLogConfig(home, logLevel)}
media_store_path: ${home}/media
signing_key_path: ${home}/signing.key
enable_registration: true
enable_registration_without_verification: true
report_stats: false
trusted_key_servers: []
suppress_key_server_warning: true
bcrypt_rounds: 4
rc_message: ${UNLIMITED}
rc_registration: ${UNLIMITED}
rc_login: { address: ${UNLIMITED}, account: ${UNLIMITED}, failed_attempts: ${UNLIMITED} }
rc_joins: { local: ${UNLIMITED}, remote: ${UNLIMITED} }
rc_joins_per_room: ${UNLIMITED}
rc_invites: { per_room: ${UNLIMITED}, per_user: ${UNLIMITED}, per_issuer: ${UNLIMITED} }
rc_room_creation: ${UNLIMITED}
rc_presence: { per_user: ${UNLIMITED} }
${configuration}
`;
}

function writeLogConfig(home, level) {
  const handlers = `{ file: { class: logging.FileHandler, filename: "${home}/synapse.log", formatter: line } }`;
  const formatters = `{ line: { format: "%(asctime)s %(levelname)s %(name)s %(message)s" } }`;
  const file = path.join(home, "log.yaml");
  writeFileSync(file, `version: 1\nformatters: ${formatters}\nhandlers: ${handlers}\nroot: { level: ${level}, handlers: [file] }\n`);
  return file;
}
