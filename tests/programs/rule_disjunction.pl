% Disjunction ';' in a body, also nested and beside a conjunction.
%% answer: p  0.7
%% answer: q  0.29
%% answer: r  0.088
%% answer: s  0.832
%% answer: t  0.4

0.5::a.
0.4::b.
0.3::c.
0.2::d.

p :- a ; b.
q :- a, (b ; c).
r :- (a, b ; c), d.
s :- (a ; b ; c ; d).
t :- (a ; \+ a), b.

query(p).
query(q).
query(r).
query(s).
query(t).
