/** Channels: of payments, what was deposited and drawn; of states, how they stand. */

import { get, useLoaded, type Channel, type Page, type StateChannel } from "../api";
import { number, short, span, time, tokens } from "../format";
import { changes } from "../live";
import { place, to } from "../router";
import { useStore } from "../store";
import { channelSubject, stateChannelSubject } from "../subjects";
import { Mark } from "../ui/mark";
import { Show, Word } from "../ui/parts";

const SHOWN = 200;

/** A page of a list, by the cursor in the address. */
function useListed<T>(path: string, name: string) {
  const count = useStore(changes);
  const cursor = useStore(place).query.get(name);
  const more = cursor === null ? "" : `&cursor=${encodeURIComponent(cursor)}`;
  return useLoaded(() => get<Page<T>>(`${path}?limit=${SHOWN}${more}`), [count, cursor]);
}

function Pager({ next, name, first }: { next: string | null; name: string; first: boolean }) {
  if (first && next === null) return null;
  return (
    <nav class="pager" aria-label={`Pages of ${name === "states" ? "state" : "payment"} channels`}>
      {!first && <a href={to("channels")}>From the beginning</a>}
      {next !== null && <a href={to("channels", { [name]: next })}>Next {SHOWN}</a>}
    </nav>
  );
}

export function ChannelsPage() {
  return (
    <div class="page">
      <header class="page-head">
        <h1>Channels</h1>
        <p class="lead">Amounts are the contracts' own: the seal compares them with your node.</p>
      </header>
      <Payments />
      <States />
    </div>
  );
}

function Payments() {
  const loaded = useListed<Channel>("v1/channels", "payments");
  const first = !useStore(place).query.has("payments");
  return (
    <section class="block" aria-labelledby="payments">
      <h2 id="payments">Payment channels</h2>
      <p class="soft">Who pays for queries deposits once and signs a voucher a query; the payee draws what was signed, in one transaction.</p>
      <Show of={loaded} isEmpty={({ items }) => !items.length} empty={<><strong>No payment channel has been opened yet</strong><p>In Python: <code>client.open_channel(payee, amount)</code>.</p></>}>
        {({ items, next_cursor: next }) => (
          <>
            <table>
              <thead><tr><th scope="col">Channel</th><th scope="col">Payer</th><th scope="col">Payee</th><th scope="col" class="figure">Deposit</th><th scope="col" class="figure">Drawn</th><th scope="col">Withdrawal takes</th><th scope="col">Block</th></tr></thead>
              <tbody>{items.map((channel) => <ChannelRow key={channel.channel_id} channel={channel} />)}</tbody>
            </table>
            <Pager next={next} name="payments" first={first} />
          </>
        )}
      </Show>
    </section>
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

function States() {
  const loaded = useListed<StateChannel>("v1/state-channels", "states");
  const first = !useStore(place).query.has("states");
  return (
    <section class="block" aria-labelledby="states">
      <h2 id="states">State channels</h2>
      <p class="soft">Two parties lock a deposit and sign newer and newer states of it between them; the chain sees the last one.</p>
      <Show of={loaded} isEmpty={({ items }) => !items.length} empty={<><strong>No state channel has been opened yet</strong><p>Contract: <code>StateChannels.open</code>. How one is signed: <code>docs/protocol.md</code>.</p></>}>
        {({ items, next_cursor: next }) => (
          <>
            <table>
              <thead><tr><th scope="col">Channel</th><th scope="col">Party A</th><th scope="col">Party B</th><th scope="col">State</th><th scope="col" class="figure">Deposit</th><th scope="col" class="figure">Newest state on chain</th><th scope="col" class="figure">Of it A's</th><th scope="col">Block</th></tr></thead>
              <tbody>{items.map((channel) => <StateRow key={channel.channel_id} channel={channel} />)}</tbody>
            </table>
            <Pager next={next} name="states" first={first} />
          </>
        )}
      </Show>
    </section>
  );
}

function StateRow({ channel }: { channel: StateChannel }) {
  return (
    <tr>
      <th scope="row"><Word hex={channel.channel_id} /></th>
      <td><code title={channel.party_a}>{short(channel.party_a)}</code></td>
      <td><code title={channel.party_b}>{short(channel.party_b)}</code></td>
      <td class="nowrap">{channel.state}{channel.state === "challenged" && <span class="soft"> until {time(channel.deadline)}</span>}{channel.state !== "closed" && <Mark subject={stateChannelSubject(channel)} />}</td>
      <td class="figure"><span class="value">{tokens(channel.deposit)}</span> <span class="unit">CORE</span></td>
      <td class="figure">{channel.version === 0 ? "the opening" : number(channel.version)}</td>
      <td class="figure">{tokens(channel.balance_a)} <span class="unit">CORE</span></td>
      <td>{number(channel.block)}</td>
    </tr>
  );
}
