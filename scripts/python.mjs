// Python packages that only tests and benchmarks use, each set in a virtual environment of its own below .tools.
import path from "node:path";
import { installDebianPackages } from "./browsers.mjs";
import { ROOT, TOOLS } from "./places.mjs";
import { answerOf } from "./setup.mjs";
import { unlessDone } from "./stamp.mjs";
import { step } from "./step.mjs";

/** Installs what `requirements` lists into the environment `name`; resolves with the path of its Python. */
export async function installPython(name, requirements) {
  const home = path.join(TOOLS, name);
  const python = path.join(home, "bin", "python");
  await unlessDone(`python-${name}`, [path.relative(ROOT, requirements)], [python], async () => {
    if (answerOf("python3", "-m", "ensurepip", "--version") === undefined) await installDebianPackages(["python3-venv"], "Python with venv");
    await step(`Python packages: ${name}`, async (run) => {
      await run("python3", ["-m", "venv", "--clear", home]);
      await run(python, ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement", requirements]);
    });
  });
  return python;
}
