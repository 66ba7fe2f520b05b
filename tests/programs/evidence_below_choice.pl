% Evidence on an effect of a choice: Bayes' rule over three values.
%% answer: urn(1)  0.13157894736842105
%% answer: urn(2)  0.39473684210526316
%% answer: urn(3)  0.47368421052631576

0.5::urn(1); 0.3::urn(2); 0.2::urn(3).
0.1::red :- urn(1).
0.5::red :- urn(2).
0.9::red :- urn(3).

query(urn(_)).
evidence(red).
