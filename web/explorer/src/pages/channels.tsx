/** Payment channels: what was deposited, what was drawn. */

import { get, useLoaded, type Channel, type Page } from "../api";
import { number, short, span, tokens } from "../format";
import { changes } from "../live";
import { useStore } from "../store";
import { channelSubject } from "../subjects";
import { Mark } from "../ui/mark";
import { Show, Word } from "../ui/parts";

const SHOWN = 200;

export function ChannelsPage() {
  const count = useStore(changes);
  const loaded = useLoaded(() => get<Page<Channel>>(`v1/channels?limit=${SHOWN}`), [count]);
  return (
    <div class="page">
      <header class="page-head">
        <h1>Channels</h1>
        <p class="lead">Who pays for queries deposits once and signs a voucher a query; the payee draws what was signed, in one transaction. Amounts are the contract's own: the seal compares them with your node.</p>
      </header>
      <Show of={loaded} isEmpty={({ items }) => !items.length} empty={<><strong>No channel has been opened yet</strong><p>In Python: <code>client.open_channel(payee, amount)</code>.</p></>}>
        {({ items }) => (
          <table>
            <thead><tr><th scope="col">Channel</th><th scope="col">Payer</th><th scope="col">Payee</th><th scope="col" class="figure">Deposit</th><th scope="col" class="figure">Drawn</th><th scope="col">Withdrawal takes</th><th scope="col">Block</th></tr></thead>
            <tbody>{items.map((channel) => <ChannelRow key={channel.channel_id} channel={channel} />)}</tbody>
          </table>
        )}
      </Show>
    </div>
  );
}

function ChannelRow({ channel }: { channel: Channel }) {
  const share = Number((BigInt(channel.claimed) * 1000n) / (BigInt(channel.balance) || 1n)) / 10;
  return (
    <tr>
      <th scope="row"><Word hex={channel.channel_id} /></th>
      <td><code title={channel.payer}>{short(channel.payer)}</code></td>
      <td><code title={channel.receiver}>{short(channel.receiver)}</code></td>
      <td class="figure"><span class="value">{tokens(channel.balance)}</span> <span class="unit">CORE</span><Mark subject={channelSubject(channel)} /></td>
      <td class="figure">{tokens(channel.claimed)} <span class="unit">CORE</span> <meter min={0} max={100} value={share} aria-label={`${share} % drawn`} /></td>
      <td class="soft">{span(channel.withdraw_delay)}</td>
      <td>{number(channel.block)}</td>
    </tr>
  );
}
