// Signals to all processes of one browser: to kill it without a word, or to let it stand still as a sleeping computer does.
import { readdirSync, readFileSync } from "node:fs";

/** To the browser that keeps its profile in `profileDir`, and to its children. @param {NodeJS.Signals} name */
export function signal(profileDir, name) {
  for (const pid of browserOf(profileDir)) {
    try {
      process.kill(pid, name);
    } catch {
      // It has ended meanwhile.
    }
  }
}

/** Parents first. */
function browserOf(profileDir) {
  const processes = readdirSync("/proc").filter((name) => /^\d+$/.test(name)).flatMap((name) => described(Number(name)));
  const found = new Set(processes.filter(({ command }) => command.includes(profileDir)).map(({ pid }) => pid));
  for (let size = 0; size < found.size; ) {
    size = found.size;
    for (const { pid, parent } of processes) if (found.has(parent)) found.add(pid);
  }
  return found;
}

function described(pid) {
  try {
    const [, parent] = /^PPid:\s*(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"));
    return [{ pid, parent: Number(parent), command: readFileSync(`/proc/${pid}/cmdline`, "utf8") }];
  } catch {
    // It has ended meanwhile, or is not ours.
    return [];
  }
}
