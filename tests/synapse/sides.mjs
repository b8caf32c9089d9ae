// The two sides of a federation, each a homeserver of one kind behind a cable that can be cut. A side has: `name`,
// `serverName`, `register(username)`, `cut()`, `mend()`, `end()`.
import { execFileSync, spawn } from "node:child_process";
import { closeSync, mkdirSync, openSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { startNode } from "../warren-node.mjs";
import { freePort, layCable } from "./cable.mjs";
import { Person } from "./person.mjs";

const START_MAX_MS = 120_000;
const START_ATTEMPTS = 3;
/** How much of what Synapse said last is shown when it does not start. */
const SAID_SHOWN_CHARS = 2_000;
/** Tests do not wait for minutes. */
const SOON = { first: "500", longest: "2s" };
/** Limits that nobody here reaches. */
const UNLIMITED = "{ per_second: 1000000, burst_count: 1000000 }";

/** Makes `ca.pem`, `cert.pem` and `key.pem` in `directory`. */
export function makeCertificates(python, directory) {
  execFileSync(python, [fileURLToPath(new URL("certificates.py", import.meta.url)), directory]);
}

/** A `warren node` that others find at `localhost:<port of its cable>`. */
export async function warrenSide(program, certificates, directory, name = "warren") {
  const port = await freePort();
  const cable = await layCable(port);
  const serverName = `localhost:${cable.port}`;
  const [ca, cert, key] = ["ca.pem", "cert.pem", "key.pem"].map((file) => path.join(certificates, file));
  const tls = ["--federation-listen", `127.0.0.1:${port}`, "--tls-cert", cert, "--tls-key", key, "--ca", ca];
  const flags = ["--server-name", serverName, ...tls, "--allow-private-ips"];
  const running = await startNode(path.join(directory, name), { program, flags });
  return side(name, serverName, cable, running);
}

/**
 * The Synapse of `python`, found in the same way. Its ports are free when they are chosen; should one be taken since, others are.
 * @param {{ environment?: object, retry?: { first: string, longest: string } }} settings variables for its process; how long it
 *   leaves a server alone that it could not reach
 */
export async function synapseSide(python, certificates, directory, name = "synapse", settings = {}) {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await startSynapse(python, certificates, path.join(directory, `${name}-${attempt}`), name, settings);
    } catch (error) {
      if (attempt === START_ATTEMPTS) throw error;
    }
  }
}

async function startSynapse(python, certificates, home, name, { environment = {}, retry = SOON }) {
  mkdirSync(home);
  const [port, clientPort] = [await freePort(), await freePort()];
  const cable = await layCable(port);
  const serverName = `localhost:${cable.port}`;
  const config = path.join(home, "homeserver.yaml");
  writeFileSync(config, configuration(home, certificates, serverName, port, clientPort, retry));
  execFileSync(python, ["-m", "synapse.app.homeserver", "--config-path", config, "--generate-keys"], { stdio: "ignore" });
  const said = openSync(path.join(home, "said.txt"), "w");
  const child = spawn(python, ["-m", "synapse.app.homeserver", "--config-path", config], { stdio: ["ignore", said, said], env: { ...process.env, ...environment } });
  closeSync(said);
  const ended = new Promise((resolve) => child.once("exit", resolve));
  const url = `http://127.0.0.1:${clientPort}`;
  const end = async () => {
    child.kill("SIGTERM");
    await ended;
  };
  const deadline = performance.now() + START_MAX_MS;
  while (!(await fetch(`${url}/_matrix/client/versions`).catch(() => undefined))?.ok) {
    if (child.exitCode !== null || child.signalCode !== null || performance.now() > deadline) {
      if (child.exitCode === null && child.signalCode === null) await end();
      cable.end();
      const words = readFileSync(path.join(home, "said.txt"), "utf8").trim().slice(-SAID_SHOWN_CHARS);
      throw new Error(`Synapse does not start (${child.signalCode ?? child.exitCode}): ${words}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  /** For how long it leaves `destination` alone after it could not reach it, in milliseconds; 0 where it does not. */
  const leavesAlone = (destination) => {
    const program = "import sqlite3, sys; print(next(sqlite3.connect(sys.argv[1]).execute('select retry_interval from destinations where destination = ?', sys.argv[2:]), [0])[0])";
    return Number(execFileSync(python, ["-c", program, path.join(home, "synapse.db"), destination], { encoding: "utf8" }));
  };
  return { ...side(name, serverName, cable, { url, end }), leavesAlone };
}

function side(name, serverName, cable, { url, end }) {
  return {
    name,
    serverName,
    url,
    register: (username) => Person.register(url, username),
    cut: cable.cut,
    mend: cable.mend,
    end: async () => {
      await end("SIGTERM");
      cable.end();
    },
  };
}

function configuration(home, certificates, serverName, port, clientPort, retry) {
  const log = path.join(home, "log.yaml");
  const handlers = `{ file: { class: logging.FileHandler, filename: "${home}/synapse.log", formatter: line } }`;
  const formatters = `{ line: { format: "%(asctime)s %(levelname)s %(name)s %(message)s" } }`;
  writeFileSync(log, `version: 1\nformatters: ${formatters}\nhandlers: ${handlers}\nroot: { level: INFO, handlers: [file] }\n`);
  return `
server_name: ${serverName}
pid_file: ${home}/synapse.pid
listeners:
  - { port: ${port}, type: http, tls: true, bind_addresses: ["127.0.0.1"], resources: [{ names: [federation] }] }
  - { port: ${clientPort}, type: http, bind_addresses: ["127.0.0.1"], resources: [{ names: [client] }] }
tls_certificate_path: ${certificates}/cert.pem
tls_private_key_path: ${certificates}/key.pem
federation_custom_ca_list: [${certificates}/ca.pem]
ip_range_blacklist: []
federation_ip_range_blacklist: []
trusted_key_servers: []
suppress_key_server_warning: true
allow_public_rooms_over_federation: true
room_list_publication_rules: [{ action: allow }]
federation:
  destination_min_retry_interval: ${retry.first}
  destination_retry_multiplier: 2
  destination_max_retry_interval: ${retry.longest}
  max_short_retries: 1
  max_long_retries: 1
  max_long_retry_delay: 1s
database: { name: sqlite3, args: { database: "${home}/synapse.db" } }
log_config: ${log}
media_store_path: ${home}/media
signing_key_path: ${home}/signing.key
enable_registration: true
enable_registration_without_verification: true
report_stats: false
bcrypt_rounds: 4
rc_message: ${UNLIMITED}
rc_registration: ${UNLIMITED}
rc_login: { address: ${UNLIMITED}, account: ${UNLIMITED}, failed_attempts: ${UNLIMITED} }
rc_joins: { local: ${UNLIMITED}, remote: ${UNLIMITED} }
rc_joins_per_room: ${UNLIMITED}
rc_invites: { per_room: ${UNLIMITED}, per_user: ${UNLIMITED}, per_issuer: ${UNLIMITED} }
rc_room_creation: ${UNLIMITED}
rc_presence: { per_user: ${UNLIMITED} }
rc_federation: { window_size: 1000, sleep_limit: 1000000, reject_limit: 1000000, concurrent: 100 }
`;
}
