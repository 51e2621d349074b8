// Paid queries of CoreChain by the stock x402 packages, which know nothing of CoreChain.
//
//   npm install @x402/fetch@2.27.0 @x402/evm@2.27.0 viem@2.57.20
//   CORECHAIN_KEY=0x… node buy.mjs <URL of a paid query> <token> <most a query may cost> [times]
//
// The key's account needs tokens and no ether: the first payment brings a signed deposit. Prints a
// line of JSON for each answer. CORECHAIN_RPC names the node, http://127.0.0.1:8545 by default.
import { BatchSettlementEvmScheme } from "@x402/evm/batch-settlement/client";
import { decodePaymentResponseHeader, wrapFetchWithPayment, x402Client } from "@x402/fetch";
import { createPublicClient, http } from "viem";
import { privateKeyToAccount } from "viem/accounts";

const [url, asset, maxAmountPerPayment, times = "1"] = process.argv.slice(2);
const { CORECHAIN_KEY, CORECHAIN_RPC = "http://127.0.0.1:8545" } = process.env;
if (CORECHAIN_KEY === undefined || maxAmountPerPayment === undefined) {
  console.error("usage: CORECHAIN_KEY=0x… node buy.mjs <URL> <token> <max price> [times]");
  process.exit(2);
}

const node = createPublicClient({ transport: http(CORECHAIN_RPC) });
const network = `eip155:${await node.getChainId()}`;
// The node says where a channel stands when this process does not remember it.
const readContract = (call) => node.readContract(call);
const payer = { ...privateKeyToAccount(CORECHAIN_KEY), readContract };
const client = new x402Client()
  .register(network, new BatchSettlementEvmScheme(payer))
  // By themselves the packages pay in well-known dollars only, up to a limit of theirs.
  .setSpendControls({ allowedAssets: [{ network, asset, maxAmountPerPayment }] });
const pay = wrapFetchWithPayment(fetch, client);

for (let asked = 0; asked < Number(times); asked++) {
  const answer = await pay(url);
  const body = await answer.json();
  const receipt = answer.headers.get("PAYMENT-RESPONSE");
  const paid = receipt && decodePaymentResponseHeader(receipt);
  const shown = answer.ok ? { items: body.items.length } : { detail: body.detail };
  const { chargedCumulativeAmount: charged } = paid?.extra?.channelState ?? {};
  console.log(JSON.stringify({ status: answer.status, charged, deposit: paid?.transaction, ...shown }));
}
