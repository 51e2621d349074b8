/** Addresses, as the checks take them. */

export const unhexed = (text: string): `0x${string}` => text.toLowerCase() as `0x${string}`;
