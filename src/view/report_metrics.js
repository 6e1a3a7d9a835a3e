/* SPDX-License-Identifier: Apache-2.0
 *
 * Metrics: a chart for each metric that has a course, one line a step; the last values
 * as tables; and the checks that compare them.
 */

/* "tasks.train[lr=0.1,seed=1]" without the kind of thing it is. */
function shortName(address)
{
    return address.replace(/^(tasks|datasets|checks|train)\./, '');
}

function entryOf(address)
{
    const bracket = address.indexOf('[');
    return bracket < 0 ? address : address.slice(0, bracket);
}

/* {lr: "0.1", seed: "1"}; or {"": "0.1,1"} when that cannot be told apart. */
function axesOf(address)
{
    const inner = address.slice(entryOf(address).length + 1, -1);
    const parts = inner.split(',').map((part) =>
        part.match(/^([A-Za-z_]\w*)=([^=]*)$/));
    if (inner === '' || parts.some((part) => part === null))
        return { '': inner };
    return Object.fromEntries(parts.map((part) => [part[1], part[2]]));
}

function niceTicks(low, high, count)
{
    const rough = (high - low) / count || 1;
    const power = 10 ** Math.floor(Math.log10(rough));
    const unit = [1, 2, 5, 10].find((u) => u * power >= rough) * power;
    const ticks = [];
    for (let i = Math.ceil(low / unit - 1e-9); i * unit <= high + unit * 1e-9; i++)
        ticks.push(Number((i * unit).toPrecision(12)));
    return ticks;
}

const CHART = { width: 360, height: 176, left: 46, right: 10, top: 8, bottom: 22 };

function chartScales(lines)
{
    let x0 = Infinity, x1 = -Infinity, y0 = Infinity, y1 = -Infinity;
    for (const line of lines)
        for (let i = 0; i < line.p.length; i += 2) {
            x0 = Math.min(x0, line.p[i]);
            x1 = Math.max(x1, line.p[i]);
            y0 = Math.min(y0, line.p[i + 1]);
            y1 = Math.max(y1, line.p[i + 1]);
        }
    const low = y0, high = y1, pad = (y1 - y0) * 0.06 || Math.abs(y0) * 0.1 || 1;
    y0 = low >= 0 && low < (high - low) * 0.15 ? 0 : low - pad;
    y1 = high + pad;
    const w = CHART.width - CHART.left - CHART.right;
    const h = CHART.height - CHART.top - CHART.bottom;
    return { x0, x1, y0, y1, low, high,
        x: (v) => CHART.left + (x1 > x0 ? (v - x0) / (x1 - x0) : 0.5) * w,
        y: (v) => CHART.top + (1 - (v - y0) / (y1 - y0)) * h };
}

function chartGrid(drawing, scales, isTime)
{
    for (const value of niceTicks(scales.y0, scales.y1, 4)) {
        const y = scales.y(value);
        drawing.append(svg('line', { class: 'grid', x1: CHART.left,
            x2: CHART.width - CHART.right, y1: y, y2: y }),
        svg('text', { x: CHART.left - 6, y: y + 3.5, 'text-anchor': 'end' },
            number(value)));
    }
    for (const value of niceTicks(scales.x0, scales.x1, 4))
        drawing.append(svg('text', { x: scales.x(value), y: CHART.height - 6,
            'text-anchor': scales.x(value) > CHART.width - 24 ? 'end' : 'middle' },
        isTime ? number(value) + ' s' : number(value)));
}

function nearest(points, x)
{
    let best = 0;
    for (let i = 0; i < points.length; i += 2)
        if (Math.abs(points[i] - x) < Math.abs(points[best] - x))
            best = i;
    return best;
}

/* What lies at x, on all lines; with many lines those near the pointer alone. */
function chartCursor(drawing, layer, scales, lines, isTime)
{
    function show(x, y, clientX, clientY)
    {
        let hits = lines.map((line) => ({ line, i: nearest(line.p, x) }));
        hits.sort((a, b) => Math.abs(scales.y(a.line.p[a.i + 1]) - y) -
            Math.abs(scales.y(b.line.p[b.i + 1]) - y));
        hits = hits.slice(0, 8);
        const at = hits[0].line.p[hits[0].i];
        layer.replaceChildren(svg('line', { class: 'cursor', x1: scales.x(at),
            x2: scales.x(at), y1: CHART.top, y2: CHART.height - CHART.bottom }),
        ...hits.map((hit) => svg('circle', { class: 'dot ' + hit.line.color, r: 3.5,
            cx: scales.x(hit.line.p[hit.i]), cy: scales.y(hit.line.p[hit.i + 1]) })));
        tipShow(clientX, clientY, isTime ? 'after ' + number(at) + ' s'
            : 'step ' + number(at), hits.map((hit) => [shortName(hit.line.step.address),
            number(hit.line.p[hit.i + 1]), hit.line.color]));
        return at;
    }

    function hide()
    {
        layer.replaceChildren();
        tipHide();
    }

    let at;
    drawing.addEventListener('pointermove', (event) => {
        const box = drawing.getBoundingClientRect();
        const x = (event.clientX - box.left) / box.width * CHART.width;
        const y = (event.clientY - box.top) / box.height * CHART.height;
        const part = (x - CHART.left) / (CHART.width - CHART.left - CHART.right);
        at = show(scales.x0 + part * (scales.x1 - scales.x0), y, event.clientX,
            event.clientY);
    });
    drawing.addEventListener('pointerleave', hide);
    drawing.addEventListener('blur', hide);
    drawing.addEventListener('keydown', (event) => {
        const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
        if (!by)
            return;
        event.preventDefault();
        const p = lines[0].p;
        const i = at === undefined ? p.length - 2 : nearest(p, at) + 2 * by;
        const k = Math.min(Math.max(i, 0), p.length - 2);
        const box = drawing.getBoundingClientRect();
        const left = scales.x(p[k]) / CHART.width * box.width;
        at = show(p[k], 0, box.left + left, box.top + 40);
    });
}

/* A colour for each line; with many, for each value of an axis that has few. Returns
 * what the colours mean. */
function colorLines(lines)
{
    if (lines.length <= 8)
        return lines.map((line, i) => {
            line.color = 'k' + i;
            return [line.color, shortName(line.step.address)];
        });
    const axes = lines.map((line) => axesOf(line.step.address));
    for (const axis of Object.keys(axes[0])) {
        const values = [...new Set(axes.map((one) => one[axis]))];
        if (axis === '' || values.length < 2 || values.length > 8)
            continue;
        lines.forEach((line, i) => {
            line.color = 'k' + values.indexOf(axes[i][axis]);
        });
        return values.map((value, i) => ['k' + i, axis + '=' + value]);
    }
    lines.forEach((line) => { line.color = 'k0'; });
    return [];
}

function chart(name, lines)
{
    const isTime = lines.some((line) => line.x === 'time');
    const many = lines.length > 8;
    const names = colorLines(lines);
    const scales = chartScales(lines);
    const last = (line) => line.p[line.p.length - 1];
    const summary = lines.length === 1 ? number(lines[0].p[1]) + ' → ' +
        number(last(lines[0])) : plural(lines.length, 'step');
    const drawing = svg('svg', { viewBox: '0 0 ' + CHART.width + ' ' + CHART.height,
        tabindex: 0, role: 'img', 'aria-label': name + ': ' + summary + ', from ' +
        number(scales.low) + ' to ' + number(scales.high) });
    chartGrid(drawing, scales, isTime);
    for (const line of lines) {
        let path = '';
        for (let i = 0; i < line.p.length; i += 2)
            path += (i === 0 ? 'M' : 'L') + scales.x(line.p[i]).toFixed(1) + ' ' +
                scales.y(line.p[i + 1]).toFixed(1);
        drawing.append(svg('path', { d: path,
            class: 'curve ' + line.color + (many ? ' many' : '') }));
    }
    const layer = svg('g');
    drawing.append(layer);
    chartCursor(drawing, layer, scales, lines, isTime);
    return el('div', { class: 'card chart' }, el('header', null, el('h3', null, name),
        el('span', null, summary)), drawing, el('div', { class: 'names' },
        names.map(([color, text]) => el('span', null,
            el('span', { class: 'swatch ' + color }), text))));
}

/* --- tables of last values --- */

/* columns: [{name, num, value(row), show(row)}]; rows are shown as far as limit. */
function sortedTable(columns, rows, limit)
{
    let by = -1, down = false, all = false;
    const body = el('tbody');
    const more = el('div', { class: 'below' });
    const heads = columns.map((column, i) => el('th', { class: column.num && 'num',
        scope: 'col' }, el('button', { on: { click: () => {
        down = by === i ? !down : Boolean(column.num);
        by = i;
        draw();
    } } }, column.name)));

    function draw()
    {
        const list = rows.slice();
        if (by >= 0)
            list.sort((a, b) => compare(columns[by].value(a), columns[by].value(b)) *
                (down ? -1 : 1));
        heads.forEach((head, i) => i === by
            ? head.setAttribute('aria-sort', down ? 'descending' : 'ascending')
            : head.removeAttribute('aria-sort'));
        body.replaceChildren(...list.slice(0, all ? list.length : limit).map((row) =>
            el('tr', null, columns.map((column) => el('td',
                { class: column.num && 'num' },
                column.show ? column.show(row) : column.value(row))))));
        more.hidden = all || list.length <= limit;
        more.replaceChildren('Showing ' + number(limit) + ' of ' + number(list.length),
            el('button', { class: 'link', on: { click: () => {
                all = true;
                draw();
            } } }, 'Show all'));
    }

    draw();
    return [el('div', { class: 'scroll' }, el('table', null, el('thead', null,
        el('tr', null, heads)), body)), more];
}

function compare(a, b)
{
    const none = (v) => v === undefined || v === null || v === '';
    if (none(a) || none(b))
        return none(a) - none(b);
    if (typeof a === 'number' && typeof b === 'number')
        return a - b;
    return String(a).localeCompare(String(b), undefined, { numeric: true });
}

function stepLink(address, text)
{
    return byAddress.has(address) ? el('button', { class: 'link',
        on: { click: () => openStep(address) } }, text || address) : text || address;
}

/* The instances of one entry: its axes, then its metrics. */
function sweepTable(entry, rows)
{
    const axes = [...new Set(rows.flatMap((step) =>
        Object.keys(axesOf(step.address))))];
    const names = [...new Set(rows.flatMap((step) => Object.keys(step.metrics)))];
    const value = (text) => text !== undefined && text !== '' && !isNaN(text)
        ? Number(text) : text;
    const columns = axes.map((axis, i) => ({ name: axis || 'step',
        value: (step) => value(axesOf(step.address)[axis]),
        show: (step) => i === 0 ? stepLink(step.address, axesOf(step.address)[axis] ||
            step.address) : axesOf(step.address)[axis] || '' }));
    for (const name of names)
        columns.push({ name, num: true, value: (step) => step.metrics[name],
            show: (step) => step.metrics[name] === undefined ? ''
                : number(step.metrics[name]) });
    return el('div', { class: 'card' }, el('h3', null, shortName(entry)),
        sortedTable(columns, rows, 12));
}

function valueTable(steps_)
{
    const rows = steps_.flatMap((step) => Object.entries(step.metrics).map(
        ([name, value]) => ({ step, name, value })));
    return el('div', { class: 'card' }, el('h3', null, 'Values'), sortedTable([
        { name: 'step', value: (row) => row.step.address,
            show: (row) => stepLink(row.step.address, shortName(row.step.address)) },
        { name: 'metric', value: (row) => row.name },
        { name: 'value', num: true, value: (row) => row.value,
            show: (row) => number(row.value) },
    ], rows, 20));
}

function metrics()
{
    const byName = new Map(), byEntry = new Map();
    const trials = steps.filter((step) => isTrial(step.address)).length;
    for (const step of steps) {
        /* Those of a large search are lines too many; its own pictures show them. */
        const trial = isTrial(step.address);
        if (trial && trials > 100)
            continue;
        for (const [name, series] of Object.entries(step.series || {}))
            byName.set(name, (byName.get(name) || []).concat({ step, x: series.x,
                p: series.x === 'time' ? series.p.map((v, i) => i % 2 ? v : v / 1000)
                    : series.p }));
        if (step.metrics && Object.keys(step.metrics).length > 0 &&
            !trial && !step.address.startsWith('checks.')) {
            const entry = entryOf(step.address);
            byEntry.set(entry, (byEntry.get(entry) || []).concat(step));
        }
    }
    if (byName.size + byEntry.size === 0)
        return;
    const box = section('metrics');
    const names = [...byName.keys()].sort();
    const LIMIT = 60;
    if (names.length > 0)
        box.append(el('div', { class: 'charts' }, names.slice(0, LIMIT).map((name) =>
            chart(name, byName.get(name)))));
    if (names.length > LIMIT)
        box.append(el('p', { class: 'note' }, 'Showing ' + LIMIT + ' of ' +
            plural(names.length, 'metric') + ' with a course.'));
    const tables = el('div', { class: 'tables' });
    const single = [...byEntry.values()].filter((rows) => rows.length === 1).flat();
    if (single.length > 0)
        tables.append(valueTable(single));
    for (const [entry, rows] of byEntry)
        if (rows.length > 1)
            tables.append(sweepTable(entry, rows));
    tables.classList.toggle('one', tables.childElementCount === 1);
    box.append(tables);
}

/* --- checks --- */

const OPS = { '>=': '≥', '<=': '≤', '==': '=', '!=': '≠' };
const VERDICTS = { succeeded: 'met', cached: 'met', failed: 'not met' };

function checks()
{
    if (data.checks.length === 0)
        return;
    const known = data.checks.some((check) => check.value);
    section('checks').append(el('div', { class: 'card' }, sortedTable([
        { name: 'Verdict', value: (c) => STATE_ORDER.indexOf(c.state),
            show: (c) => el('span', { class: 'verdict' }, icon(c.state),
                VERDICTS[c.state] || stateWord(c.state)) },
        { name: 'Check', value: (c) => c.name, show: (c) => [
            stepLink(c.address, c.name), c.help && el('p', { class: 'soft' }, c.help),
            c.message && el('p', { class: 'soft' }, c.message)] },
        known && { name: 'Of', value: (c) => c.value, show: (c) => el('span',
            { class: 'soft mono' },
            (c.value || '').replace(/^\$\{(.*)\}$/, '$1')) },
        { name: 'Value', num: true, value: (c) => c.actual,
            show: (c) => c.actual === undefined ? '–' : number(c.actual) },
        known && { name: 'Bound', num: true, value: (c) => Number(c.than),
            show: (c) => (OPS[c.op] || c.op || '') + ' ' +
                (c.than === undefined ? '' : number(c.than)) },
    ].filter(Boolean), data.checks, 100)));
}
