/** JSON whose whole numbers keep all their digits. */

import { MalformedAnswer } from "./errors.js";

const MARK = "\u0000whole:";
const TOKENS = /"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*/gs;
// Whole numbers of 16 digits and more, which `number` may not hold.
const LONG = /^-?[1-9]\d{15,}$/;

/** A JSON text; whole numbers that `number` cannot hold become bigints. `JSON.parse` would round the
 * sums of statistics. Throws MalformedAnswer. */
export function parseJson(text: string): unknown {
  if (typeof text !== "string") throw new MalformedAnswer("the answer is no text");
  const marked = text.replace(TOKENS, (token) =>
    LONG.test(token) ? `"\\u0000whole:${token}"` : token,
  );
  try {
    return JSON.parse(marked, (_, value: unknown) =>
      typeof value === "string" && value.startsWith(MARK) ? whole(value.slice(MARK.length)) : value,
    );
  } catch (error) {
    throw new MalformedAnswer("the answer is not JSON", { cause: error });
  }
}

function whole(digits: string): number | bigint {
  const value = BigInt(digits);
  return Number.isSafeInteger(Number(value)) ? Number(value) : value;
}
