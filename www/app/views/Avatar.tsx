// A person's or room's initial on a colour of its own. Decoration: the name stands beside it.

import { hueOf, initialOf } from "../models/names.ts";

export function Avatar({ id, name, square = false }: { id: string; name: string; square?: boolean }) {
  return (
    <span className={`avatar hue-${hueOf(id)}${square ? " square" : ""}`} aria-hidden="true">
      {initialOf(name)}
    </span>
  );
}
