// Synapse as PyPI has it, with SQLite and without rate limits: what `warren node` is measured beside.
import { execFileSync, spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { residentBytes } from "../../tests/warren-node.mjs";

const START_MAX_MS = 60_000;

/** Limits that nobody here reaches. */
const UNLIMITED = "{ per_second: 1000000, burst_count: 1000000 }";

export function synapseVersion(python) {
  return execFileSync(python, ["-c", "import synapse; print(synapse.__version__)"], { encoding: "utf8" }).trim();
}

/** Starts the Synapse of `python` on `directory` and `port`; resolves once it answers. */
export async function startSynapse(python, directory, port) {
  const config = path.join(directory, "homeserver.yaml");
  writeFileSync(config, configuration(directory, port));
  execFileSync(python, ["-m", "synapse.app.homeserver", "--config-path", config, "--generate-keys"], { stdio: "ignore" });
  const child = spawn(python, ["-m", "synapse.app.homeserver", "--config-path", config], { stdio: "ignore" });
  const ended = new Promise((resolve) => child.once("exit", resolve));
  const url = `http://127.0.0.1:${port}`;
  const deadline = performance.now() + START_MAX_MS;
  while (!(await fetch(`${url}/_matrix/client/versions`).catch(() => undefined))?.ok) {
    if (child.exitCode !== null || performance.now() > deadline) throw new Error("Synapse does not start");
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  return {
    url,
    residentBytes: () => residentBytes(child.pid),
    end: async () => {
      child.kill("SIGTERM");
      await ended;
    },
  };
}

function configuration(directory, port) {
  return `
server_name: localhost:${port}
pid_file: ${directory}/synapse.pid
listeners: [{ port: ${port}, type: http, bind_addresses: ["127.0.0.1"], resources: [{ names: [client] }] }]
database: { name: sqlite3, args: { database: "${directory}/synapse.db" } }
log_config: ${writeLogConfig(directory)}
media_store_path: ${directory}/media
signing_key_path: ${directory}/signing.key
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
`;
}

function writeLogConfig(directory) {
  const file = path.join(directory, "log.yaml");
  writeFileSync(file, "version: 1\nroot: { level: ERROR }\n");
  return file;
}
