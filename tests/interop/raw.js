// Two pages with nothing but an RTCPeerConnection between them, introduced as fast as can be: what no library can be faster than.
/* global location, RTCPeerConnection */
import { sampled } from "./measured.js";

/** Of one message, as libp2p has it. */
const MESSAGE_BYTES = 16 * 1024;
/** Where sending stops, and where it goes on: as in libp2p-webrtc-p2p. */
const HIGH_WATER_BYTES = 1024 * 1024;
const LOW_WATER_BYTES = 512 * 1024;
const ALL = "all";

/** Two of them at one path of the switchboard that served their pages are introduced by it, each candidate when it is found. */
export async function startRaw() {
  const socket = new WebSocket(location.href.replace(/^http/, "ws"));
  await new Promise((resolve, reject) => Object.assign(socket, { onopen: resolve, onerror: reject }));
  let peer;
  let connected;
  const tell = (message) => socket.send(JSON.stringify(message));
  const begin = () => {
    peer = new RTCPeerConnection({ iceServers: [] });
    peer.onicecandidate = ({ candidate }) => candidate && tell({ candidate });
    peer.ondatachannel = ({ channel }) => answer(channel);
    connected = new Promise((resolve) => (peer.onconnectionstatechange = () => peer.connectionState === "connected" && resolve()));
  };
  // One after the other, as they came.
  let done = Promise.resolve();
  socket.onmessage = ({ data }) => {
    const { description, candidate } = JSON.parse(data);
    if (description?.type === "offer") begin();
    done = done.then(() => (candidate ? peer.addIceCandidate(candidate) : described(description)));
  };
  const described = async (description) => {
    await peer.setRemoteDescription(description);
    if (description.type === "offer") await describe();
  };
  const describe = async () => {
    await peer.setLocalDescription();
    tell({ description: peer.localDescription });
  };
  return {
    id: "raw",
    address: "raw",
    dial: async () => {
      begin();
      peer.createDataChannel("init");
      await describe();
      await connected;
      return 1;
    },
    identified: () => connected,
    part: () => peer.close(),
    roundTrips: async (_, bytes, samples, each) => {
      const channel = await open(peer);
      const sent = new Uint8Array(bytes);
      const took = await sampled(samples, each, () => thereAndBack(channel, sent));
      channel.close();
      return took;
    },
    openings: async (_, count) => {
      const took = [];
      for (let n = 0; n < count; n += 1) {
        const started = performance.now();
        const channel = await open(peer);
        took.push(performance.now() - started);
        await thereAndBack(channel, Uint8Array.of(1));
        took.push(performance.now() - started);
        const closed = new Promise((resolve) => (channel.onclose = resolve));
        channel.close();
        await closed;
      }
      return took;
    },
    bulk: async (_, bytes) => bulk(await open(peer, "sink"), bytes),
  };
}

function answer(channel) {
  channel.binaryType = "arraybuffer";
  if (channel.label === "sink") channel.onmessage = ({ data }) => data === ALL && channel.send(ALL);
  else if (channel.label === "") channel.onmessage = ({ data }) => channel.send(data);
}

async function open(peer, label = "") {
  const channel = peer.createDataChannel(label);
  channel.binaryType = "arraybuffer";
  await new Promise((resolve) => (channel.onopen = resolve));
  return channel;
}

function thereAndBack(channel, sent) {
  const back = new Promise((resolve) => (channel.onmessage = resolve));
  channel.send(sent);
  return back;
}

async function bulk(channel, bytes) {
  channel.bufferedAmountLowThreshold = LOW_WATER_BYTES;
  const message = new Uint8Array(MESSAGE_BYTES);
  const done = new Promise((resolve) => (channel.onmessage = resolve));
  const started = performance.now();
  for (let left = bytes; left > 0; left -= message.length) {
    if (channel.bufferedAmount >= HIGH_WATER_BYTES) await new Promise((resolve) => (channel.onbufferedamountlow = resolve));
    channel.send(message.subarray(0, left));
  }
  channel.send(ALL);
  await done;
  channel.close();
  return performance.now() - started;
}
