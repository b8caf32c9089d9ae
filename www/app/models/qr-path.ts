// Draws a text as the path of a QR code's dark modules.

import qrcode from "qrcode-generator";

/** Light modules that the standard asks for around a code. */
const QUIET_ZONE = 4;

export interface QrPath {
  /** Side of the square drawing, quiet zone included, in modules. */
  size: number;
  path: string;
}

/** Undefined when the text is too long for a QR code. */
export function qrPath(text: string): QrPath | undefined {
  const code = qrcode(0, "L");
  try {
    code.addData(text, "Byte");
    code.make();
  } catch {
    return undefined;
  }
  const count = code.getModuleCount();
  let path = "";
  for (let row = 0; row < count; row += 1) {
    for (let column = 0; column < count; column += 1) {
      if (!code.isDark(row, column)) continue;
      const begin = column;
      while (column + 1 < count && code.isDark(row, column + 1)) column += 1;
      path += `M${begin + QUIET_ZONE} ${row + QUIET_ZONE}h${column - begin + 1}v1h-${column - begin + 1}z`;
    }
  }
  return { size: count + 2 * QUIET_ZONE, path };
}
