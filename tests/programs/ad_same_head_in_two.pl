% One head in two annotated disjunctions: two independent causes.
%% answer: hit  0.44
%% answer: miss  0.73

0.3::hit; 0.7::miss.
0.2::hit; 0.1::miss.

query(hit).
query(miss).
