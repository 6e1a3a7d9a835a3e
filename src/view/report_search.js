/* SPDX-License-Identifier: Apache-2.0
 *
 * Searches: for each its outcome, its pictures, what parameters mattered, and the trials
 * as a table. A view holds what the pictures of one search share: which trials are
 * picked, and how each marks the one that is pointed at.
 */

const TRIAL_INK = { completed: 'c0', stopped: 'c7', failed: 'failed', running: 'c2',
    paused: 'c4', waits: 'faint', skipped: 'faint' };
const TRIAL_LOOKS = { completed: 'succeeded', waits: 'queued', paused: 'backoff' };

/* A trial of a search, by the address of its step. */
function isTrial(address)
{
    return (data.searches || []).some((one) => address.startsWith(one.address + '['));
}

/* The end of a key that tells it from the others. */
function shortKey(view, key)
{
    const parts = key.split('.');
    for (let n = 1; n < parts.length; n++) {
        const tail = '.' + parts.slice(-n).join('.');
        if (!view.keys.some((one) => one !== key && ('.' + one).endsWith(tail)))
            return tail.slice(1);
    }
    return key;
}

function valueText(value)
{
    if (value === undefined)
        return '';
    return typeof value === 'number' || typeof value === 'string' ? number(value)
        : JSON.stringify(value);
}

function trialAddress(view, trial)
{
    return view.search.address + '[trial=' + trial.n + ']';
}

function isBetter(view, a, b)
{
    return view.search.mode === 'max' ? a > b : a < b;
}

/* --- what mattered --- */

function importance(view)
{
    const rows = Object.entries(view.search.importance).sort((a, b) => b[1] - a[1]);
    if (rows.length === 0)
        return null;
    const bars = rows.map(([key, share]) => {
        const bar = el('i');
        bar.style.width = Math.max(share * 100, 0.5) + '%';
        return [el('dt', { title: key }, shortKey(view, key)),
            el('dd', null, el('span', { class: 'track' }, bar),
                el('b', null, (share * 100).toFixed(share < 0.1 ? 1 : 0) + ' %'))];
    });
    const of = view.search.completed ? 'completed trials'
        : 'trials that were completed or stopped';
    return figureCard('Importance of each parameter', [],
        el('dl', { class: 'shares' }, bars),
        'How much of the differences between ' + of + ' each parameter explains by ' +
        'itself: one-way analysis of variance of the rank of ' + view.search.metric +
        ' over groups of its values (numbers: up to 5 groups of equal size), corrected ' +
        'for the number of groups (ε²). A parameter that some trials lack is judged by ' +
        'those that have it; how parameters act together is not in it.');
}

/* --- the table --- */

function trialTable(view)
{
    const rows = view.trials.filter((t) => isPicked(view, t));
    const order = Object.keys(TRIAL_INK);
    const some = (name) => view.trials.some((t) => t[name] !== undefined);
    const address = (t) => trialAddress(view, t);
    const sign = view.search.mode === 'max' ? -1 : 1;
    rows.sort((a, b) => (a.value === undefined) - (b.value === undefined) ||
        sign * (a.value - b.value) || a.n - b.n);
    return sortedTable([
        { name: 'trial', num: true, value: (t) => t.n,
            show: (t) => stepLink(address(t), String(t.n)) },
        { name: 'state', value: (t) => order.indexOf(t.state), show: (t) => el('span',
            { class: 'verdict', title: t.why }, icon(TRIAL_LOOKS[t.state] || t.state),
            t.state) },
        { name: view.search.metric, num: true, value: (t) => t.value, show: (t) =>
            t.value === undefined ? '' : t === view.best
                ? el('b', null, number(t.value)) : number(t.value) },
        some('at') && { name: 'at ' + view.search.unit, num: true, value: (t) => t.at,
            show: (t) => t.at === undefined ? '' : number(t.at) },
        view.trials.some((t) => t.last !== t.at) && { name: 'came to', num: true,
            value: (t) => t.last,
            show: (t) => t.last === undefined ? '' : number(t.last) },
        ...view.keys.map((key) => ({ name: shortKey(view, key),
            num: view.trials.some((t) => typeof t.config[key] === 'number'),
            value: (t) => typeof t.config[key] === 'number' ? t.config[key]
                : valueText(t.config[key]), show: (t) => valueText(t.config[key]) })),
        some('from') && { name: 'from', num: true, value: (t) => t.from },
        some('end') && { name: 'took', num: true, value: (t) => t.end - t.start,
            show: (t) => t.end >= t.start ? duration(t.end - t.start) : '' },
    ].filter(Boolean), rows, 15);
}

/* --- a search --- */

function kindText(spec)
{
    if (spec === undefined || spec === null)
        return undefined;
    if (typeof spec !== 'object')
        return String(spec);
    const rest = Object.entries(spec).filter(([key]) => key !== 'type').map(
        ([key, value]) => key + ' ' + valueText(value));
    return spec.type + (rest.length > 0 ? ' (' + rest.join(', ') + ')' : '');
}

function searchFacts(view)
{
    const s = view.search;
    const counts = ['completed', 'stopped', 'failed', 'running', 'paused', 'waits',
        'skipped'].filter((state) => s.counts[state]).map((state) =>
        number(s.counts[state]) + ' ' + state);
    return el('div', { class: 'card sheet' }, facts([
        s.help && ['What', s.help],
        ['Looks for', (s.mode === 'max' ? 'highest ' : 'lowest ') + s.metric +
            (s.target ? ' of ' + s.target : '')],
        view.best && view.best.value !== undefined && ['Best', [
            el('b', null, number(view.best.value)), ' in ',
            stepLink(trialAddress(view, view.best), 'trial ' + view.best.n)]],
        view.best && ['With', el('span', { class: 'mono' }, view.keys.filter((key) =>
            view.best.config[key] !== undefined).map((key) => el('span',
            { class: 'setting' }, key + ' = ' + valueText(view.best.config[key]))))],
        ['Trials', [number(s.total) + (counts.length > 0 ? ': ' + counts.join(', ') : ''),
            s.over && '; no further one began: ' + s.over]],
        ['Algorithm', kindText(s.algorithm)],
        ['Scheduler', kindText(s.scheduler)],
        ['Show all', el('code', null, 'raywf tune show ' + run.id)],
        view.best && ['Best as a recipe', el('code', null, 'raywf tune show ' + run.id +
            ' --best')],
    ]));
}

function searchBlock(search)
{
    const space = search.space || {};
    const keys = Object.keys(space);
    for (const key of search.trials.flatMap((t) => Object.keys(t.config)))
        if (!keys.includes(key))
            keys.push(key);
    const view = { search, space, keys, trials: search.trials, redraws: [], marks: [],
        picked: null, best: search.trials.find((t) => t.n === search.best) };
    const table = el('div', { class: 'card trials' });
    const note = el('p', { class: 'picked', hidden: true });
    view.pick = (picked, clear) => {
        view.picked = picked;
        note.hidden = !picked;
        note.replaceChildren(...picked ? [plural(picked.size, 'trial') + ' of ' +
            number(view.trials.length) + ' picked. ', el('button', { class: 'link',
            on: { click: clear } }, 'Show all')] : []);
        table.replaceChildren(...trialTable(view));
        redrawAll(view);
    };
    table.append(...trialTable(view));
    const parts = [searchFacts(view), curves(view), el('div', { class: 'pair' },
        bestSoFar(view), importance(view)), parallel(view), note, table];
    searchViews.push(view);
    return el('div', { class: 'search' }, data.searches.length > 1 &&
        el('h3', null, shortName(search.address).replace(/^tune\./, '')), parts,
    search.trials.length < search.total - (search.counts.waits || 0) -
        (search.counts.skipped || 0) && search.trials.length >= 10000 &&
        el('p', { class: 'note' }, 'The page holds ' + number(search.trials.length) +
            ' of ' + plural(search.total, 'trial') + '.'));
}

const searchViews = [];

function searches()
{
    if (!data.searches)
        return;
    const box = section('search');
    box.append(...data.searches.map(searchBlock));
    const again = () => searchViews.forEach(redrawAll);
    again();
    new MutationObserver(again).observe(document.documentElement,
        { attributes: true, attributeFilter: ['data-theme'] });
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', again);
}
