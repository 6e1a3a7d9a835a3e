/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of steps: filtered, sorted, drawn in pieces so that thousands stay quick;
 * each row opens into all that is known of the step.
 */

const CHUNK = 200;
const table = { text: '', states: new Set(), by: null, down: false, shown: CHUNK,
    open: new Set(), rows: new Map() };
const longest = Math.max(1, ...steps.map((step) => stepTook(step) || 0));

function usage(step, name)
{
    return step.usage ? step.usage[name] : undefined;
}

const COLUMNS = [
    { id: 'state', name: 'State', value: (s) => STATE_ORDER.indexOf(s.state) },
    { id: 'name', name: 'Step', value: (s) => s.address },
    { id: 'start', name: 'Began', num: true, opt: true, value: stepStart },
    { id: 'took', name: 'Took', num: true, value: stepTook },
    { id: 'attempts', name: 'Attempts', num: true, opt: true,
        value: (s) => s.dir ? s.attempts.length : undefined },
    { id: 'cpu', name: 'CPU', num: true, opt: true, value: (s) => usage(s, 'cpu') },
    { id: 'memory', name: 'Memory', num: true, opt: true,
        value: (s) => usage(s, 'max_rss') },
];

/* --- the inside of a row --- */

/* The words of a command as a shell reads them, if it is as plain as ours are. */
function shellWords(text)
{
    const words = [];
    const word = /\s*((?:\\.|[^\s'\\]|'[^']*')+)/y;
    let match, end = 0;
    while ((match = word.exec(text)) !== null) {
        words.push(match[1].replace(/'([^']*)'|\\(.)/g, (whole, quoted, char) =>
            quoted === undefined ? char : quoted));
        end = word.lastIndex;
    }
    return text.slice(end).trim() === '' ? words : [];
}

/* What was asked of a shell is its text, not the shell. */
function commandText(command)
{
    const words = shellWords(command);
    const shell = words.length >= 3 && /(^|\/)(ba|da|z|k)?sh$/.test(words[0]) &&
        words[words.length - 1].length > 0;
    return shell ? words[words.length - 1].trimEnd() : command.trimEnd();
}

function block(title, ...content)
{
    return [el('h4', null, title), ...content];
}

function logBlocks(step)
{
    const count = step.attempts.length;
    const latest = step.logs.reduce((most, log) => Math.max(most, log.attempt || 1), 1);
    return step.logs.map((log) => {
        const which = count > 1 ? ', attempt ' + log.attempt : '';
        const part = log.shown < log.size ? ' (the last ' + size(log.shown) + ' of ' +
            size(log.size) + ')' : '';
        const pre = el('pre', { tabindex: 0 }, plainText(log.text).trimEnd());
        if ((log.attempt || 1) === latest)
            return block(log.name + which + part, pre);
        return el('details', null, el('summary', { class: 'soft' },
            log.name + which + part), pre);
    });
}

function attemptRows(step)
{
    const rows = step.attempts.map((attempt) =>
        el('tr', null, el('td', null, el('span', { class: 'verdict' },
            icon(attempt.how === 'retry' ? 'failed' : attempt.how === 'lost' ? 'stopped'
                : attempt.how || 'running'), 'attempt ' + attempt.n)),
        el('td', { class: 'num' }, offset(attempt.start)),
        el('td', { class: 'num' }, duration(attemptTook(attempt))),
        el('td', { class: 'rest' }, attempt.message ||
            (attempt.how === 'lost' ? HOW.lost : ''))));
    return el('div', { class: 'sub-table' }, el('table', null, rows));
}

function outputRows(step)
{
    const rows = step.outputs.map((output) =>
        el('tr', null, el('td', null, output.name || 'data'),
            el('td', { class: 'num' }, size(output.size) +
                (output.files ? ', ' + plural(output.files, 'file') : '')),
            el('td', { class: 'mono soft', title: output.digest },
                (output.digest || '').replace(/^sha256:/, '').slice(0, 16)),
            el('td', { class: 'mono path' }, output.path || '')));
    return el('div', { class: 'sub-table' }, el('table', null, rows));
}

function metricRows(step)
{
    return el('div', { class: 'sub-table' }, el('table', null,
        Object.entries(step.metrics).map(([name, value]) => el('tr', null,
            el('td', { class: 'rest' }, name), el('td', { class: 'num' },
                number(value))))));
}

function listOfSteps(addresses, count)
{
    return [addresses.map((address, i) => [i > 0 && ', ', stepLink(address)]),
        count > addresses.length && ' and ' + number(count - addresses.length) +
            ' more'];
}

function whyText(step)
{
    const text = step.message || step.cause;
    if (step.state === 'skipped' && step.because_step)
        return [text, ' (', stepLink(step.because_step), ')'];
    return step.attempts.length > 0 || step.state === 'failed' ? text : step.message;
}

function askedText(asked)
{
    if (!asked)
        return undefined;
    return [number(asked.cpu) + ' CPU', asked.memory && size(asked.memory),
        asked.gpu && number(asked.gpu) + ' GPU', asked.timeout && 'at most ' +
        duration(asked.timeout), asked.retries > 0 && plural(asked.retries, 'retry',
            'retries')].filter(Boolean).join(', ');
}

function details(step)
{
    const used = step.usage || {};
    const parts = [facts([
        step.help && ['What', step.help],
        [step.state === 'failed' ? 'Cause' : 'Why', whyText(step)],
        ['Recipe', step.line && sourceLink(step.file, step.line)],
        step.origin && ['Made by', step.origin],
        step.needs && ['Needs', listOfSteps(step.needs, step.need_count)],
        ['Asked for', askedText(step.asked)],
        used.wall !== undefined && ['Used', duration(used.wall * 1000) + ', CPU ' +
            duration(used.cpu * 1000) + (used.max_rss > 0 ? ', memory ' +
            size(used.max_rss) : '')],
        step.rows !== undefined && ['Rows', number(step.rows)],
        step.bytes !== undefined && ['Bytes', size(step.bytes)],
        step.key && ['Key', el('span', { class: 'mono' }, step.key)],
        step.node && ['Node', el('span', { class: 'mono' }, step.node)],
        step.dir && ['Folder', el('span', { class: 'mono' }, step.dir)],
    ])];
    if (step.attempts.length > 1)
        parts.push(...block('Attempts', attemptRows(step)));
    if (step.command)
        parts.push(...block('Command', el('pre', { tabindex: 0 },
            commandText(step.command))));
    if (step.metrics && Object.keys(step.metrics).length > 0)
        parts.push(...block('Metrics', metricRows(step)));
    if (step.outputs)
        parts.push(...block('Outputs', outputRows(step)));
    if (step.logs)
        parts.push(...logBlocks(step).flat());
    else if (step.tail)
        parts.push(...block('Output', el('pre', { tabindex: 0 },
            plainText(step.tail))));
    return el('tr', { class: 'more' }, el('td', { colspan: COLUMNS.length }, parts));
}

/* --- rows --- */

function rowMessage(step)
{
    if (step.state === 'failed')
        return el('p', { class: 'bad' }, step.message || step.cause || '');
    if (step.state === 'skipped' || step.state === 'stopped')
        return step.message ? el('p', null, step.message) : null;
    if (step.state === 'running' && step.progress >= 0)
        return el('p', null, Math.floor(step.progress * 100) + ' %');
    return null;
}

function tookCell(step)
{
    const took = stepTook(step);
    if (took === undefined || !step.dir)
        return '';
    const bar = el('i', { class: 's-' + step.state });
    bar.style.width = took / longest * 100 + '%';
    return el('span', { class: 'took' }, duration(took), bar);
}

function cells(step)
{
    const used = step.usage || {};
    const name = el('button', { class: 'name', 'aria-expanded': 'false' },
        step.address);
    return [
        el('span', { class: 'verdict' }, icon(step.state),
            el('span', { class: 'word' }, stateWord(step.state))),
        [name, rowMessage(step)],
        stepStart(step) === undefined ? '' : offset(stepStart(step)),
        tookCell(step),
        step.dir ? step.attempts.length : '',
        used.cpu === undefined ? '' : duration(used.cpu * 1000),
        used.max_rss > 0 ? size(used.max_rss) : '',
    ];
}

function setOpen(step, row, open)
{
    const name = row.querySelector('.name');
    name.setAttribute('aria-expanded', String(open));
    const next = row.nextElementSibling;
    if (open && !(next && next.classList.contains('more')))
        row.after(details(step));
    else if (!open && next && next.classList.contains('more'))
        next.remove();
    open ? table.open.add(step) : table.open.delete(step);
}

function makeRow(step)
{
    const row = el('tr', { class: 'row' }, cells(step).map((cell, i) => el('td', {
        class: [COLUMNS[i].num && 'num', COLUMNS[i].opt && 'opt',
            i === 0 && 'state'].filter(Boolean).join(' ') }, cell)));
    row.addEventListener('click', (event) => {
        if (String(getSelection()) === '' || event.target.closest('button'))
            setOpen(step, row, !table.open.has(step));
    });
    table.rows.set(step, row);
    return row;
}

/* --- the table --- */

function matches(step)
{
    if (table.states.size > 0 && !table.states.has(step.state))
        return false;
    const words = table.text.toLowerCase().split(/\s+/).filter(Boolean);
    const hay = [step.address, step.cause, step.message, step.help].join(' ')
        .toLowerCase();
    return words.every((word) => hay.includes(word));
}

function matching()
{
    const list = steps.filter(matches);
    const column = COLUMNS.find((one) => one.id === table.by);
    if (column)
        list.sort((a, b) => {
            const x = column.value(a), y = column.value(b);
            const none = (x === undefined) - (y === undefined);
            return none || compare(x, y) * (table.down ? -1 : 1);
        });
    return list;
}

function drawTable()
{
    const list = matching(), shown = list.slice(0, table.shown);
    table.rows.clear();
    table.body.replaceChildren(...shown.map(makeRow));
    for (const step of [...table.open])
        if (table.rows.has(step))
            setOpen(step, table.rows.get(step), true);
    for (const head of table.heads) {
        head.removeAttribute('aria-sort');
        if (head.dataset.id === table.by)
            head.setAttribute('aria-sort', table.down ? 'descending' : 'ascending');
    }
    for (const chip of document.querySelectorAll('.chip'))
        chip.setAttribute('aria-pressed', String(table.states.has(chip.dataset.state)));
    table.count.textContent = list.length === run.total ? plural(run.total, 'step')
        : number(list.length) + ' of ' + plural(run.total, 'step');
    table.more.hidden = shown.length === list.length;
    table.more.firstChild.textContent = 'Showing ' + number(shown.length) + ' of ' +
        number(list.length);
}

function showMore(count)
{
    table.shown += count;
    drawTable();
}

function sortBy(id)
{
    const column = COLUMNS.find((one) => one.id === id);
    if (table.by === id && table.down !== Boolean(column.num)) {
        table.by = null;
    } else {
        table.down = table.by === id ? !table.down : Boolean(column.num);
        table.by = id;
    }
    drawTable();
}

function toggleState(state)
{
    if (!table.states.delete(state))
        table.states.add(state);
    table.shown = CHUNK;
    drawTable();
}

function stateChips()
{
    const seen = STATE_ORDER.filter((state) => run.counts[state]);
    return seen.map((state) => el('button', {
        class: 'chip', 'data-state': state, 'aria-pressed': 'false',
        on: { click: () => toggleState(state) } }, icon(state),
    el('b', null, number(run.counts[state])), stateWord(state)));
}

/* Shows the steps that have text in their names, whatever was filtered before. */
function findSteps(text)
{
    table.text = table.input.value = text;
    table.states.clear();
    table.shown = CHUNK;
    drawTable();
    document.getElementById('steps').scrollIntoView();
}

function openStep(address)
{
    const step = byAddress.get(address);
    if (!step)
        return;
    tipHide();
    if (!matches(step)) {
        table.text = table.input.value = '';
        table.states.clear();
    }
    table.shown = Math.max(table.shown, matching().indexOf(step) + 1);
    drawTable();
    const row = table.rows.get(step);
    setOpen(step, row, true);
    row.querySelector('.name').focus({ preventScroll: true });
    row.scrollIntoView({ block: 'start' });
    history.replaceState(null, '', '#' + encodeURIComponent(address));
}

function stepTable()
{
    const box = section('steps');
    table.body = el('tbody');
    table.heads = COLUMNS.map((column) => el('th', { scope: 'col', 'data-id': column.id,
        class: [column.num && 'num', column.opt && 'opt'].filter(Boolean).join(' ') },
    el('button', { on: { click: () => sortBy(column.id) } }, column.name)));
    table.count = el('span', { class: 'count', 'aria-live': 'polite' });
    table.input = el('input', { type: 'search',
        placeholder: 'Filter by name or message',
        'aria-label': 'Filter steps by name or message', on: { input: () => {
            table.text = table.input.value;
            table.shown = CHUNK;
            drawTable();
        } } });
    table.more = el('div', { class: 'below' }, el('span'), el('button', { class: 'link',
        on: { click: () => showMore(CHUNK) } }, 'Show ' + CHUNK + ' more'),
    el('button', { class: 'link', on: { click: () => showMore(Infinity) } },
        'Show all'));
    box.className = 'steps';
    box.append(el('div', { class: 'filter' }, table.input, stateChips(), table.count),
        el('div', { class: 'card' }, el('div', { class: 'scroll' }, el('table', null,
            el('thead', null, el('tr', null, table.heads)), table.body)), table.more));
    if (steps.length < run.total)
        box.append(el('p', { class: 'note' }, 'The page holds ' + number(steps.length) +
            ' of ' + plural(run.total, 'step') + ': those that failed or were tried ' +
            'again first. The run’s folder has them all.'));
    drawTable();
}
