/* SPDX-License-Identifier: Apache-2.0
 *
 * The rest of the page: its head, what went wrong, the configuration, the machine; and
 * the call that draws everything.
 */

/* --- head --- */

const ENDS = { succeeded: 'succeeded', failed: 'failed', stopped: 'stopped' };

function goodSteps()
{
    return (run.counts.succeeded || 0) + (run.counts.cached || 0);
}

/* The outcome as one would say it. */
function headline()
{
    const left = STATE_ORDER.filter((state) => run.counts[state] &&
        state !== 'succeeded' && state !== 'cached').map((state) =>
        number(run.counts[state]) + ' ' + stateWord(state));
    const good = goodSteps();
    const cached = run.counts.cached || 0;
    const all = good === run.total ? cached === run.total && run.total > 0
        ? 'Nothing had to run: the results of all ' + plural(run.total, 'step') +
            ' were there already.'
        : 'All ' + plural(run.total, 'step') + ' are done' + (cached > 0
            ? ', ' + number(cached) + ' of them from the cache.' : '.')
        : number(good) + ' of ' + plural(run.total, 'step') + ' are done; ' +
            left.join(', ') + '.';
    return [all, run.message && ' ' + run.message, run.status === 'interrupted' && [
        ' The process that drove it is gone; ',
        el('code', null, 'raywf resume ' + run.id), ' goes on with it.']];
}

function figure(name, value, small)
{
    return el('div', null, el('dt', null, name), el('dd', null, value,
        small && el('small', null, small)));
}

function figures()
{
    const work = steps.reduce((sum, step) => sum + (stepTook(step) || 0), 0);
    const cpu = steps.reduce((sum, step) => sum + (usage(step, 'cpu') || 0), 0);
    const peak = steps.reduce((best, step) => (usage(step, 'max_rss') || 0) >
        (best ? usage(best, 'max_rss') : 0) ? step : best, null);
    const resumes = data.segments.length - 1;
    const met = data.checks.filter((check) => VERDICTS[check.state] === 'met').length;
    return el('dl', { class: 'figures' },
        figure('Duration', duration(activeTime), resumes > 0 ? 'resumed ' +
            (resumes === 1 ? 'once' : resumes + ' times') + ', over ' + duration(now)
            : null),
        figure('Steps done', number(goodSteps()) + ' / ' + number(run.total),
            run.counts.cached ? number(run.counts.cached) + ' from the cache' : null),
        data.checks.length > 0 && figure('Checks met',
            met + ' / ' + data.checks.length),
        work > 0 && figure('Work', duration(work), work > activeTime * 1.05
            ? (work / activeTime).toFixed(1) + ' at once' : null),
        cpu > 0 && figure('CPU time', duration(cpu * 1000)),
        peak && figure('Most memory', size(usage(peak, 'max_rss')),
            shortName(peak.address)),
        run.exit_code !== undefined && figure('Exit code', String(run.exit_code),
            run.exit_code !== 0 && run.exit_help));
}

function stateBar()
{
    const bar = el('div', { class: 'bar', 'aria-hidden': 'true' });
    const order = ['succeeded', 'cached', 'running', 'backoff', 'failed', 'stopped',
        'skipped', 'queued', 'preparing', 'pending'];
    for (const state of order)
        if (run.counts[state]) {
            const part = el('span', { class: 's-' + state, title: number(
                run.counts[state]) + ' ' + stateWord(state) });
            part.style.flexGrow = run.counts[state];
            bar.append(part);
        }
    return bar;
}

function themeButton()
{
    const names = ['auto', 'light', 'dark'];
    const root = document.documentElement;
    const button = el('button', { class: 'btn', 'aria-label': 'Colours: automatic' },
        'Auto');
    button.addEventListener('click', () => {
        const next = names[(names.indexOf(root.dataset.theme || 'auto') + 1) % 3];
        root.dataset.theme = next;
        button.textContent = next[0].toUpperCase() + next.slice(1);
        button.setAttribute('aria-label', 'Colours: ' + next);
    });
    return button;
}

function head()
{
    const state = run.status === 'running' ? 'running' : ENDS[run.status] || 'stopped';
    const legend = el('div', { class: 'legend' }, stateChips());
    legend.addEventListener('click', () => document.getElementById('steps')
        .scrollIntoView());
    document.getElementById('head').append(
        el('div', { class: 'title' }, el('h1', null, run.name || run.id),
            el('span', { class: 'badge s-' + state }, icon(state), run.status),
            themeButton()),
        el('p', { class: 'sub' }, run.started && el('span', null, when(run.started)),
            run.recipe && el('span', null, run.recipe),
            el('span', { class: 'mono' }, run.id),
            run.status === 'running' && el('span', null,
                'still running when this page was made')),
        el('p', { class: 'headline' }, headline()), figures(), stateBar(), legend);
}

function navigation()
{
    const nav = document.getElementById('nav');
    const links = [...document.querySelectorAll('main > section')].filter((one) =>
        !one.hidden).map((one) => el('a', { href: '#' + one.id },
        one.querySelector('h2').textContent));
    nav.append(...links);
    const mark = () => {
        const above = links.filter((link) => document.getElementById(
            link.getAttribute('href').slice(1)).getBoundingClientRect().top < 120);
        const here = above[above.length - 1];
        for (const link of links)
            link === here ? link.setAttribute('aria-current', 'true')
                : link.removeAttribute('aria-current');
    };
    addEventListener('scroll', mark, { passive: true });
    mark();
}

/* --- what went wrong --- */

function lastLines(step)
{
    const logs = (step.logs || []).filter((log) => log.name === 'stderr')
        .concat(step.logs || []);
    const text = step.tail || (logs[0] && logs[0].text);
    return text ? plainText(text).trimEnd().split('\n').slice(-15).join('\n') : '';
}

/* The same failure of several instances is told once: steps are all that had it. */
function problem(group)
{
    const step = group.steps[0], others = group.steps.slice(1);
    const names = new Set(group.steps.map((one) => one.address));
    const lost = steps.filter((one) => names.has(one.because_step)).length;
    const where = step.line ? sourceLink(step.file, step.line) : step.where;
    return el('div', { class: 'card problem s-failed' }, el('header', null,
        icon('failed'), el('b', null, stepLink(step.address)),
        where && el('span', { class: 'soft' }, where),
        step.attempts.length > 1 && el('span', { class: 'soft' }, 'after ' +
            plural(step.attempts.length, 'attempt'))),
    el('p', null, step.message || step.cause || 'failed'),
    others.length > 0 && el('p', { class: 'soft' }, 'The same in ', listOfSteps(
        others.slice(0, 10).map((one) => one.address), others.length), '.'),
    lost > 0 && el('p', { class: 'soft' }, plural(lost, 'step') +
        (lost === 1 ? ' was' : ' were') + ' not run because of it.'),
    group.lines && el('pre', { tabindex: 0 }, group.lines));
}

function problems()
{
    const failed = steps.filter((step) => step.state === 'failed');
    if (failed.length === 0)
        return;
    const groups = new Map();
    for (const step of failed) {
        const lines = lastLines(step);
        const same = JSON.stringify([entryOf(step.address), step.message, lines]);
        if (!groups.has(same))
            groups.set(same, { steps: [], lines });
        groups.get(same).steps.push(step);
    }
    const LIMIT = 5;
    const box = section('problems');
    box.append(...[...groups.values()].slice(0, LIMIT).map(problem));
    if (groups.size > LIMIT)
        box.append(el('button', { class: 'link', on: { click: () => {
            table.states = new Set(['failed']);
            drawTable();
            document.getElementById('steps').scrollIntoView();
        } } }, 'Show all ' + plural(run.counts.failed || failed.length,
            'failed step')));
}

/* --- configuration --- */

function sourceFile(path)
{
    const files = data.config.files;
    const i = files.findIndex((file) => file.shown === path || file.path === path);
    return i < 0 && files.length === 1 ? 0 : i;
}

function sourceLink(path, line)
{
    const i = sourceFile(path), text = (path || run.recipe || 'line') + ':' + line;
    if (i < 0 || !data.config.files[i].text)
        return text;
    return el('button', { class: 'link', on: { click: (event) => {
        event.stopPropagation();
        const box = document.getElementById('source-' + i);
        box.open = true;
        box.querySelectorAll('.here').forEach((one) => one.classList.remove('here'));
        const target = box.querySelectorAll('pre > div')[line - 1];
        if (target) {
            target.classList.add('here');
            target.scrollIntoView({ block: 'center' });
        }
    } } }, text);
}

/* Just enough colour to find one's way: comments and keys. */
function sourceLine(line, i)
{
    const note = line.match(/^(\s*)(#.*)$/);
    const pair = line.match(/^([\s-]*)([A-Za-z_][\w.-]*)(:(?:\s.*)?)$/);
    const content = note ? [note[1], el('span', { class: 'y-note' }, note[2])]
        : pair ? [pair[1], el('span', { class: 'y-name' }, pair[2]), pair[3]] : [line];
    return el('div', { 'data-n': i + 1 }, content);
}

function source(file, i)
{
    const lines = file.text === undefined ? []
        : file.text.replace(/\n$/, '').split('\n');
    const box = el('details', { class: 'card source', id: 'source-' + i },
        el('summary', null, file.shown || file.path || 'recipe', ' ',
            el('span', { class: 'soft' }, file.text === undefined
                ? '(too large to be shown)' : plural(lines.length, 'line'))));
    box.append(el('pre', { tabindex: 0 }, lines.map(sourceLine)));
    box.open = i === 0 && lines.length <= 400;
    return box;
}

function configuration()
{
    const config = data.config;
    const given = [
        config.profile && ['Profile', config.profile],
        (config.sets || []).length > 0 && ['Set', config.sets.map((pair) =>
            pair.join(' = ')).join(', ')],
        (config.only || []).length > 0 && ['Only', config.only.join(', ')],
        (config.from || []).length > 0 && ['From', config.from.join(', ')],
    ].filter(Boolean);
    if (config.params.length + given.length + config.files.length === 0)
        return;
    const box = section('recipe');
    const rows = given.concat(config.params.map((param) => [param.name, [
        el('span', { class: 'mono' }, param.value === undefined ? '' : param.value),
        param.given && el('span', { class: 'tag' }, 'given')]]));
    if (rows.length > 0)
        box.append(el('div', { class: 'card sheet' }, facts(rows)));
    box.append(...config.files.map(source));
}

/* --- serving --- */

function served()
{
    if (data.served.length === 0)
        return;
    section('served').append(el('div', { class: 'card' }, sortedTable([
        { name: 'When', num: true, value: (e) => e.t, show: (e) => offset(e.t) },
        { name: 'What', value: (e) => e.text,
            show: (e) => [icon(e.state), ' ', e.text] },
    ], data.served, 100)));
}

/* --- machine --- */

const MACHINE = { name: 'Name', host: 'Host', cpu: 'CPU', cpus: 'CPU', memory: 'Memory',
    gpus: 'GPU', gpu: 'GPU', gpu_count: 'GPU' };

function machine()
{
    const rows = Object.entries(data.machine || {}).map(([name, value]) => {
        const text = name === 'memory' && typeof value === 'number' ? size(value)
            : value !== null && typeof value === 'object' ? Object.entries(value).map(
                ([key, one]) => key + ' ' + one).join(', ')
                : typeof value === 'number' ? number(value) : String(value);
        return [MACHINE[name] || name, text];
    });
    if (run.raywf)
        rows.push(['raywf', String(run.raywf)]);
    for (const note of data.notices)
        rows.push(note.type === 'notify' ? ['Notified', [(note.ok ? 'sent to '
            : 'not sent to ') + note.url, note.message && ': ' + note.message]]
            : ['Stopped', [offset(note.t), note.reason && ': ' + note.reason]]);
    if (rows.length > 0)
        section('machine').append(el('div', { class: 'card sheet' }, facts(rows)));
}

/* --- all of it --- */

head();
problems();
graph();
timeline();
searches();
served();
metrics();
checks();
stepTable();
configuration();
machine();
navigation();
document.getElementById('foot').append('Made by raywf ' + data.version + ' on ' +
    when(run.made) + ' from ' + plural(run.events, 'event') + ' of run ' + run.id +
    '.');
/* A link to one step opens it. */
try {
    const wanted = decodeURIComponent(location.hash.slice(1));
    if (byAddress.has(wanted))
        openStep(wanted);
} catch (error) {
    /* not the name of a step */
}
addEventListener('beforeprint', () => showMore(Infinity));
