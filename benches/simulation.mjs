// What takes as long as the network does, in the virtual time of the simulation: it is the same on every machine.
import { ROOT } from "../scripts/places.mjs";
import { figure } from "./summary.mjs";

export async function benchSimulation(run) {
  const { output } = await run("cargo", ["test", "--locked", "--test", "sim", "--", "--nocapture", "fifty", "halves"], { cwd: ROOT });
  const samples = Object.assign({}, ...[...output.matchAll(/^measured (.+)$/gm)].map(([, json]) => JSON.parse(json)));
  const lines = [
    figure("two halves of a room that meet again, until they agree", "rounds", samples.agreed_rounds),
    figure("join storm: fifty servers on one link, until in the room", "ms", samples.joined_ms),
    figure("a message of who invited, meanwhile", "ms", samples.inviter_waited_ms),
  ];
  return { lines, samples };
}
