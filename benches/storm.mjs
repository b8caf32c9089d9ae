// Fifty `warren node`s, each a process of its own, follow one link at the same moment, over libp2p through one relay: how long each
// waits to be in, and what whoever made the link waits for messages of their own meanwhile.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { WARREN } from "../scripts/places.mjs";
import { Relay } from "../tests/e2e/relay.mjs";
import { startNode } from "../tests/warren-node.mjs";
import { figure } from "./summary.mjs";

const GUESTS = 50;
const ROUNDS = { full: 3, quick: 1 };
/** Processes that are started at the same time. */
const STARTS_AT_ONCE = 5;
/** What the inviter says before, to compare with. */
const QUIET_TALKS = 30;
const CS = "/_matrix/client/v3";

export async function benchStorm(size, program = WARREN) {
  const directory = mkdtempSync(path.join(os.tmpdir(), "warren-bench-"));
  const site = path.join(directory, "site");
  mkdirSync(site);
  writeFileSync(path.join(site, "index.html"), "<!doctype html>");
  const relay = new Relay({ program, site, dataDir: path.join(directory, "relay") });
  const nodes = [];
  try {
    await relay.start();
    const { relays } = await (await fetch(`${relay.url}/config.json`)).json();
    const flags = relays.flatMap((address) => ["--relay", address]);
    const people = await inTurns(GUESTS + 1, STARTS_AT_ONCE, async (index) => {
      const node = await startNode(path.join(directory, `node-${index}`), { program, flags });
      nodes.push(node);
      return Person.register(node.url, `user${index}`);
    });
    const joined = [];
    const talked = [];
    const quiet = [];
    for (let round = 0; round < ROUNDS[size]; round++) {
      const one = await storm(people, round);
      joined.push(...one.joined);
      talked.push(...one.talked);
      quiet.push(...one.quiet);
    }
    return {
      lines: [
        figure(`join storm: link to joined, each of ${GUESTS} servers at once`, "µs", joined),
        figure("send to own /sync of who invited, meanwhile", "µs", talked, { limit: { name: "the same before", samples: quiet } }),
      ],
      samples: { joined, talked, quiet },
    };
  } finally {
    await Promise.allSettled(nodes.map((node) => node.end("SIGKILL")));
    await relay.stop();
    rmSync(directory, { recursive: true, force: true });
  }
}

async function storm([inviter, ...guests], round) {
  const { room_id: room } = await inviter.ask("POST", "/createRoom", { preset: "public_chat", name: `Storm ${round}` });
  const quiet = [];
  for (let said = 0; said < QUIET_TALKS; said++) quiet.push(await inviter.talks(room));
  const via = inviter.id.slice(inviter.id.indexOf(":") + 1);
  const began = performance.now();
  const joins = guests.map(async (guest) => {
    await guest.ask("POST", `/join/${encodeURIComponent(room)}?via=${via}`, {});
    return (performance.now() - began) * 1000;
  });
  let storming = true;
  const all = Promise.all(joins).finally(() => (storming = false));
  const talked = [];
  while (storming) talked.push(await inviter.talks(room));
  const joined = await all;
  for (const person of [inviter, ...guests]) await person.untilMembers(room, guests.length + 1);
  return { joined, talked, quiet };
}

/** Somebody with an account on a node. */
class Person {
  #transactions = 0;

  static async register(url, username) {
    const person = new Person();
    person.url = url;
    const { access_token: token, user_id: id } = await person.ask("POST", "/register", { username, auth: { type: "m.login.dummy" } });
    return Object.assign(person, { token, id });
  }

  async ask(method, target, body) {
    const headers = { ...(this.token && { authorization: `Bearer ${this.token}` }), "content-type": "application/json" };
    const response = await fetch(`${this.url}${CS}${target}`, { method, headers, body: body && JSON.stringify(body) });
    const answer = await response.json();
    if (!response.ok) throw new Error(`${method} ${target}: ${response.status} ${JSON.stringify(answer)}`);
    return answer;
  }

  /** Says something; how long until a `/sync` tells of it, in µs. */
  async talks(room) {
    const filter = encodeURIComponent(JSON.stringify({ room: { timeline: { limit: 1 } } }));
    let { next_batch: since } = await this.ask("GET", `/sync?filter=${filter}`);
    const began = performance.now();
    const path = `/rooms/${encodeURIComponent(room)}/send/m.room.message/${this.#transactions++}`;
    const { event_id: said } = await this.ask("PUT", path, { msgtype: "m.text", body: "Come in" });
    for (;;) {
      const news = await this.ask("GET", `/sync?timeout=30000&since=${encodeURIComponent(since)}`);
      since = news.next_batch;
      const events = news.rooms?.join?.[room]?.timeline?.events ?? [];
      if (events.some(({ event_id: id }) => id === said)) return (performance.now() - began) * 1000;
    }
  }

  /** Everybody sees everybody. */
  async untilMembers(room, count) {
    const deadline = performance.now() + 120_000;
    const path = `/rooms/${encodeURIComponent(room)}/joined_members`;
    while (Object.keys((await this.ask("GET", path)).joined).length !== count) {
      if (performance.now() > deadline) throw new Error(`${this.id} does not see all ${count}`);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}

/** `work` for each number below `count`, some at a time. */
async function inTurns(count, atOnce, work) {
  const results = [];
  let next = 0;
  const worker = async () => {
    while (next < count) {
      const index = next++;
      results[index] = await work(index);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  return results;
}
