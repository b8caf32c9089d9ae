// A link as a QR code, for a phone beside the screen. Always dark on light: many scanners read nothing else.

import { useMemo } from "react";
import { qrPath } from "../models/qr-path.ts";

export function QrCode({ text, label }: { text: string; label: string }) {
  const code = useMemo(() => qrPath(text), [text]);
  if (!code) return null;
  return (
    <svg className="qr" viewBox={`0 0 ${code.size} ${code.size}`} role="img" aria-label={label} shapeRendering="crispEdges">
      <rect className="qr-ground" width={code.size} height={code.size} />
      <path className="qr-modules" d={code.path} />
    </svg>
  );
}
