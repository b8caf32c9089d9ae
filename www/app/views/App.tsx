// The whole page: welcome or inside.

import { usePage } from "./page.ts";
import { Inside } from "./Inside.tsx";
import { useReadable } from "./use-readable.ts";
import { Welcome } from "./Welcome.tsx";

export function App() {
  const { entrance } = usePage();
  const phase = useReadable(entrance.phase);
  return phase.at === "welcome" ? <Welcome phase={phase} /> : <Inside key={phase.account.userId} account={phase.account} />;
}
