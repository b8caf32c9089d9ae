// What a worker gets to see of the page's peer connections.
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { RtcBroker, type FromBroker, type ToBroker } from "./rtc-broker";

class FakeChannel {
  readyState = "connecting";
  onopen: (() => void) | null = null;
  closed = false;
  constructor(readonly label: string) {}
  close(): void {
    this.closed = true;
  }
}

class FakePeer {
  static made: FakePeer[] = [];
  onicecandidate: ((event: unknown) => void) | null = null;
  onconnectionstatechange: (() => void) | null = null;
  ondatachannel: ((event: unknown) => void) | null = null;
  connectionState = "new";
  sctp: { state: string; onstatechange: (() => void) | null } | null = null;
  channels: FakeChannel[] = [];
  closed = false;
  remote?: RTCSessionDescriptionInit;
  constructor(readonly configuration: RTCConfiguration) {
    if (configuration.iceServers?.length) throw new Error("bad server");
    FakePeer.made.push(this);
  }
  createDataChannel(label: string): FakeChannel {
    const channel = new FakeChannel(label);
    this.channels.push(channel);
    return channel;
  }
  createOffer = (): Promise<RTCSessionDescriptionInit> => Promise.resolve({ type: "offer", sdp: "our offer" });
  createAnswer = (): Promise<RTCSessionDescriptionInit> => Promise.resolve({ type: "answer", sdp: "our answer" });
  setLocalDescription = (): Promise<void> => Promise.resolve();
  setRemoteDescription(description: RTCSessionDescriptionInit): Promise<void> {
    this.remote = description;
    this.sctp = { state: "connecting", onstatechange: null };
    return Promise.resolve();
  }
  addIceCandidate = (): Promise<void> => Promise.reject(new Error("no such candidate"));
  close(): void {
    this.closed = true;
  }
}

let said: { message: FromBroker; transfer: unknown[] }[];
let tell: (message: ToBroker) => Promise<void>;
let broker: RtcBroker;

beforeEach(() => {
  FakePeer.made = [];
  vi.stubGlobal("RTCPeerConnection", FakePeer);
  said = [];
  const port = {
    close: () => undefined,
    onmessage: null as ((event: { data: ToBroker }) => void) | null,
    postMessage: (message: FromBroker, transfer: unknown[]) => said.push({ message, transfer }),
  };
  broker = new RtcBroker(port as unknown as MessagePort);
  tell = async (data) => {
    port.onmessage?.({ data });
    // A description takes a few turns.
    for (let turn = 0; turn < 10; turn++) await Promise.resolve();
  };
});
afterEach(() => vi.unstubAllGlobals());

const connect = () => tell({ type: "connect", connection: 1, configuration: {}, peer: "12D3a" });
const last = () => said.at(-1)?.message;

test("an offer is made with init, which stays open", async () => {
  await connect();
  await tell({ type: "makeOffer", connection: 1, call: 7 });
  expect(last()).toEqual({ type: "done", connection: 1, call: 7, sdp: "our offer" });
  const [init] = FakePeer.made[0]!.channels;
  expect(init!.label).toBe("init");
  expect(init!.closed).toBe(false);
});

test("channels are transferred, and the other side's init is left alone", async () => {
  await connect();
  await tell({ type: "openChannel", connection: 1, call: 1 });
  const peer = FakePeer.made[0]!;
  expect(said.at(-1)!.transfer).toEqual([peer.channels[0]]);
  const [theirs, init] = [new FakeChannel(""), new FakeChannel("init")];
  peer.ondatachannel!({ channel: init });
  peer.ondatachannel!({ channel: theirs });
  expect(said.length).toBe(2);
  expect(said.at(-1)).toEqual({ message: { type: "channel", connection: 1, channel: theirs }, transfer: [theirs] });
  expect(init.closed).toBe(false);
});

test("the other side's end is told by its association", async () => {
  await connect();
  await tell({ type: "makeAnswer", connection: 1, call: 1, offer: "their offer" });
  expect(last()).toEqual({ type: "done", connection: 1, call: 1, sdp: "our answer" });
  const peer = FakePeer.made[0]!;
  expect(peer.remote).toEqual({ type: "offer", sdp: "their offer" });
  peer.sctp!.state = "closed";
  peer.sctp!.onstatechange!();
  expect(last()).toEqual({ type: "state", connection: 1, state: "closed" });
});

test("what cannot be done is said", async () => {
  await connect();
  await tell({ type: "addCandidate", connection: 1, call: 3, candidate: {} });
  expect(last()).toEqual({ type: "failed", connection: 1, call: 3, message: "Error: no such candidate" });
  await tell({ type: "connect", connection: 2, configuration: { iceServers: [{ urls: "x" }] }, peer: "12D3b" });
  await tell({ type: "makeOffer", connection: 2, call: 4 });
  expect(last()).toMatchObject({ type: "failed", connection: 2, call: 4 });
});

test("closed connections say nothing more", async () => {
  await connect();
  await tell({ type: "connect", connection: 2, configuration: {}, peer: "12D3b" });
  await tell({ type: "close", connection: 1 });
  const [one, two] = FakePeer.made;
  expect(broker.connections()).toEqual([{ peerId: "12D3b", peer: two }]);
  expect([one!.closed, two!.closed]).toEqual([true, false]);
  expect(one!.onconnectionstatechange).toBeNull();
  broker.close();
  expect(two!.closed).toBe(true);
  expect(broker.connections()).toEqual([]);
});
