% Two atoms support each other through uncertain links.
%% answer: a  0.398
%% answer: b  0.32
%% answer: c  0.12

0.3::root_a.
0.2::root_b.
0.5::link_ab.
0.7::link_ba.

a :- root_a.
b :- root_b.
a :- b, link_ba.
b :- a, link_ab.
c :- a, \+ b.

query(a).
query(b).
query(c).
