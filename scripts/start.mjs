// `npm start`: sets up, builds what changed, and serves Warren until it is interrupted.
// Whatever follows `npm start --` goes to `warren serve`.
import { spawn } from "node:child_process";
import { build } from "./build.mjs";
import { ROOT, SITE, WARREN } from "./places.mjs";
import { task } from "./step.mjs";

await task(async () => {
  await build();
  const server = spawn(WARREN, ["serve", "--site", SITE, ...process.argv.slice(2)], { cwd: ROOT, stdio: "inherit" });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => server.kill(signal));
  process.exitCode = await new Promise((resolve, reject) => {
    server.on("error", reject);
    server.on("exit", (code) => resolve(code ?? 0));
  });
});
