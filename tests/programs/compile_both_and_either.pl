% The conjunction and the disjunction of the same two overlapping rules: equal parts, different meaning.
%% answer: both  0.118
%% answer: either  0.348

0.5::a.
0.4::b.
0.3::c.
0.2::d.

x :- a, b.
x :- c, d.
y :- a, c.
y :- b, d.
both :- x, y.
either :- x.
either :- y.

query(both).
query(either).
