// A homeserver that stops in the middle of createRoom, before or after the room is stored, leaves exactly one room.
import assert from "node:assert/strict";
import { ask, CLIENT, register } from "../matrix.mjs";
import { comesIn } from "../person.mjs";

/** A worker that hangs is replaced after some 4 s, a fault may be followed by a pause of 1 s. */
const RESTART_MAX_MS = 20_000;

/** Runs in the host worker: has it stop at its next write. */
function stopAtNextWrite(how) {
  const begin = IDBDatabase.prototype.transaction;
  const hang = () => {
    for (;;);
  };
  const trap = (event) => {
    event.stopImmediatePropagation();
    const bytes = [0, 97, 115, 109, 1, 0, 0, 0, 1, 4, 1, 96, 0, 0, 3, 2, 1, 0, 7, 5, 1, 1, 102, 0, 0, 10, 5, 1, 3, 0, 0, 11];
    setTimeout(new WebAssembly.Instance(new WebAssembly.Module(new Uint8Array(bytes))).exports.f);
  };
  IDBDatabase.prototype.transaction = function (stores, mode, ...rest) {
    const transaction = begin.call(this, stores, mode, ...rest);
    if (mode !== "readwrite") return transaction;
    IDBDatabase.prototype.transaction = begin;
    if (how === "hangs before it is stored") hang();
    // Before the homeserver's own listener: it never learns that its write has come through, and tells nobody.
    transaction.addEventListener("complete", how === "hangs once it is stored" ? hang : trap);
    return transaction;
  };
}

/** Arms the tab's worker, and returns a check that it was indeed stopped. */
async function stopTheWorker(tab, how) {
  await tab.untilHost("leader", RESTART_MAX_MS);
  const worker = await tab.hostWorker();
  await worker.evaluate(stopAtNextWrite, how);
  return () => assert.ok(!tab.page.workers().includes(worker), "the worker was not stopped");
}

async function joinedRooms(tab, token) {
  return (await ask(tab, "GET", `${CLIENT}/joined_rooms`, { token })).joined_rooms;
}

export const stories = [
  {
    name: "a worker stopped in the middle of createRoom leaves exactly one room",
    browsers: ["chromium"],
    timeoutMs: 150_000,
    async run(stage) {
      const { person: anna } = await comesIn(stage, "Anna");
      const { token } = await anna.session();
      const created = [];
      for (const how of ["hangs before it is stored", "hangs once it is stored", "traps once it is stored"]) {
        const assertStopped = await stopTheWorker(anna.tab, how);
        const asked = stage.measure(`room created though the worker ${how}`);
        await anna.createRoom(how);
        asked();
        created.push(how);
        assertStopped();
        assert.equal((await joinedRooms(anna.tab, token)).length, created.length);
        assert.deepEqual((await anna.rooms()).sort(), [...created].sort());
      }
    },
  },
  {
    name: "a worker stopped in the middle of a script's createRoom leaves exactly one room",
    browsers: ["chromium"],
    async run(stage) {
      const tab = await (await stage.open("anna")).tab("/");
      await tab.untilHost("leader");
      await tab.untilServiceWorker();
      const { access_token: token } = await register(tab, "script");
      for (const how of ["hangs once it is stored", "traps once it is stored"]) {
        const assertStopped = await stopTheWorker(tab, how);
        const before = await joinedRooms(tab, token);
        const { room_id: room } = await ask(tab, "POST", `${CLIENT}/createRoom`, { token, body: {} });
        assertStopped();
        assert.deepEqual((await joinedRooms(tab, token)).sort(), [...before, room].sort());
      }
    },
  },
];
